// Does the proof of work of examples/mobile/kotlin fit ALTCHA's vectors and a live service that asks for it?
import java.util.concurrent.atomic.AtomicInteger
import kotlin.io.encoding.Base64
import kotlin.random.Random
import okhttp3.OkHttpClient
import okhttp3.Request
import org.json.JSONArray
import org.json.JSONObject
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.Timeout

@Timeout(60)
class ProofOfWorkTest {
    private val server: String = System.getenv("CHALLENGING_URL")
    private val http = OkHttpClient()
    private val device = Device(load = { null }, save = {}, name = "a phone")
    private val requests = CodeRequests(server, device)
    private val mobile = "139%08d".format(Random.nextInt(100_000_000))

    @Test
    fun `keys are those of ALTCHA`() {
        val parameters = { cost: Int ->
            JSONObject()
                .put("cost", cost)
                .put("keyLength", 32)
                .put("nonce", "39baf91a19d671f8231217f9e28342a6")
                .put("salt", "5e00d5d152e1a5db7d44fb6404a40a5e")
        }
        assertEquals("722ede188d41e7a7c9fd5447dca6cbb84e09c15724dbaadfb5bfb37d2cd4effa", keyOf(parameters(1), 123))
        assertEquals("cba117f9a790022a55589d5008c9f003e49c011ff7fe34fc838788a1825524f7", keyOf(parameters(2), 123))
    }

    @Test
    fun `a solution has the prefix that was asked for, and the challenge as it came`() {
        val challenge = JSONObject(text("$server/app/v1_0/challenges/pow?mobile=$mobile"))
        val payload = JSONObject(Base64.decode(solve(challenge)).decodeToString())
        assertTrue(challenge.similar(payload.getJSONObject("challenge")))
        val solution = payload.getJSONObject("solution")
        val key = keyOf(challenge.getJSONObject("parameters"), solution.getInt("counter"))
        assertEquals(key, solution.getString("derivedKey"))
        assertTrue(key.startsWith("00"))
    }

    @Test
    fun `a code is sent after a proof of work`() {
        val calls = AtomicInteger()
        val counting = OkHttpClient.Builder().addInterceptor { calls.incrementAndGet(); it.proceed(it.request()) }.build()
        CodeRequests(server, device, counting).send(mobile).use { assertEquals(200, it.code) }
        assertEquals(3, calls.get())
        val sent = JSONArray(text("$server/dev/sms"))
        assertEquals(1, (0 until sent.length()).count { sent.getJSONObject(it).getString("mobile") == mobile })
    }

    @Test
    fun `a refusal for another reason comes back`() {
        requests.send("1").use {
            assertEquals(400, it.code)
            assertEquals("mobile_invalid", JSONObject(it.body.string()).getString("code"))
        }
    }

    private fun text(url: String): String {
        val request = Request.Builder().url(url).header("Accept", "application/json").build()
        return http.newCall(request).execute().use { it.body.string() }
    }
}
