import java.io.IOException
import java.nio.ByteBuffer
import java.util.stream.IntStream
import javax.crypto.Mac
import javax.crypto.spec.SecretKeySpec
import kotlin.experimental.xor
import kotlin.io.encoding.Base64
import okhttp3.HttpUrl.Companion.toHttpUrl
import okhttp3.MediaType.Companion.toMediaType
import okhttp3.OkHttpClient
import okhttp3.Request
import okhttp3.RequestBody.Companion.toRequestBody
import okhttp3.Response
import org.json.JSONException
import org.json.JSONObject

private val JSON = "application/json".toMediaType()

/**
 * Asks for SMS codes, and does the proof of work that the server asks for on suspicion (ALTCHA v2, PBKDF2/SHA-256). Call
 * it off the main thread: it blocks, and keeps all cores busy for a second or so when there is work to do.
 */
class CodeRequests(server: String, private val device: Device, private val http: OkHttpClient = OkHttpClient()) {
    private val server = server.trimEnd('/')

    /**
     * Asks once, and once more with a proof of work if that is what the server wants. The answer is the server's: a
     * refusal with other kinds of challenges is for the app to show.
     */
    fun send(mobile: String, purpose: String = "login"): Response {
        val request = JSONObject().put("mobile", mobile).put("purpose", purpose).put("device", device.toJson())
        val answer = ask(request)
        val url = workOffered(answer) ?: return answer
        answer.close()
        val from = (server + url).toHttpUrl().newBuilder().addQueryParameter("mobile", mobile).build()
        val challenge = http.newCall(Request.Builder().url(from).build()).execute()
        if (challenge.code != 200) return challenge
        val response = solve(challenge.use { json(it.body.string()) })
        return ask(request.put("challenge", JSONObject().put("kind", "pow").put("response", response)))
    }

    private fun ask(body: JSONObject): Response {
        val request = Request.Builder().url("$server/app/v1_0/sms/codes").post(body.toString().toRequestBody(JSON))
        return http.newCall(request.build()).execute()
    }

    /** Where the work comes from, if this refusal asks for it. */
    private fun workOffered(answer: Response): String? {
        if (answer.code != 403) return null
        val refusal = json(answer.peekBody(Long.MAX_VALUE).string())
        val offers = refusal.optJSONArray("challenges") ?: return null
        val work = (0 until offers.length()).map(offers::getJSONObject).find { it.optString("kind") == "pow" }
        return work?.getString("url")
    }

    private fun json(body: String) = try {
        JSONObject(body)
    } catch (notJson: JSONException) {
        throw IOException("The answer is something else", notJson)
    }
}

/** The payload of ALTCHA: what goes back to the server as `response`. */
fun solve(challenge: JSONObject): String {
    val parameters = challenge.getJSONObject("parameters")
    val prefix = parameters.getString("keyPrefix")
    // In parallel: each thread tries counters of its own.
    val counter = IntStream.range(0, Int.MAX_VALUE).parallel().filter { keyOf(parameters, it).startsWith(prefix) }
        .findAny().asInt
    val solution = JSONObject().put("counter", counter).put("derivedKey", keyOf(parameters, counter))
    val payload = JSONObject().put("challenge", challenge).put("solution", solution)
    return Base64.encode(payload.toString().toByteArray())
}

/** The key of a counter: PBKDF2 by hand, as that of Android takes text for a password, not bytes. */
fun keyOf(parameters: JSONObject, counter: Int): String {
    val mac = Mac.getInstance("HmacSHA256")
    val password = parameters.getString("nonce").hexToByteArray() + bytesOf(counter)
    mac.init(SecretKeySpec(password, mac.algorithm))
    check(parameters.getInt("keyLength") == mac.macLength) { "a key of another length" }
    var last = mac.doFinal(parameters.getString("salt").hexToByteArray() + bytesOf(1))
    val key = last.copyOf()
    repeat(parameters.getInt("cost") - 1) {
        last = mac.doFinal(last)
        for (i in key.indices) key[i] = key[i] xor last[i]
    }
    return key.toHexString()
}

/** Big-endian. */
private fun bytesOf(number: Int) = ByteBuffer.allocate(Int.SIZE_BYTES).putInt(number).array()
