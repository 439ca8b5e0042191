// Does the token holder of examples/mobile/kotlin keep a user signed in, whatever the network does, and does it sign
// out once, and only when the server says so?
import java.io.IOException
import java.util.concurrent.Callable
import java.util.concurrent.CopyOnWriteArrayList
import java.util.concurrent.CountDownLatch
import java.util.concurrent.Executors
import java.util.concurrent.TimeUnit.SECONDS
import java.util.concurrent.atomic.AtomicInteger
import okhttp3.Interceptor
import okhttp3.MediaType.Companion.toMediaType
import okhttp3.OkHttpClient
import okhttp3.Protocol
import okhttp3.Request
import okhttp3.RequestBody.Companion.toRequestBody
import okhttp3.Response
import okhttp3.ResponseBody.Companion.toResponseBody
import okio.Buffer
import org.json.JSONArray
import org.json.JSONObject
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertNotEquals
import org.junit.jupiter.api.Assertions.assertNull
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.Timeout
import org.junit.jupiter.api.assertThrows

private val server: String = System.getenv("PHONEPASS_URL")
private val expired: String = System.getenv("TOKEN_EXPIRED")
private val plain = OkHttpClient()
private const val CROWD = 50

@Timeout(30)
class TokenHolderTest {
    private val device = Device(load = { null }, save = {}, name = "a phone")
    private val first = signIn()
    private val sessionEnds = AtomicInteger()
    private val refreshes = AtomicInteger()
    private val refused = CountDownLatch(CROWD)
    private val crowd = CopyOnWriteArrayList<Thread>()

    @Volatile
    private var stored: Tokens? = first.copy(access = expired)

    @Volatile
    private var canSave = true

    /** What happens to a refresh on its way to the server and back. */
    @Volatile
    private var network: (Interceptor.Chain) -> Response = { it.proceed(it.request()) }

    private val holder = TokenHolder(
        server,
        load = { stored },
        save = { check(canSave); stored = it },
        device = device,
        onSessionEnd = { sessionEnds.incrementAndGet() },
        http = OkHttpClient.Builder().addInterceptor { chain ->
            if (chain.request().method == "PUT") refreshes.incrementAndGet()
            network(chain)
        }.build(),
    )
    private val app = OkHttpClient.Builder().addInterceptor(holder).addInterceptor { chain ->
        val used = chain.request().header("Authorization")
        if (used != "Bearer $expired") assertEquals("Bearer ${stored?.access}", used, "used before it was saved")
        chain.proceed(chain.request()).also { if (it.code == 401) refused.countDown() }
    }.build()

    @Test
    fun `fifty requests with an expired token cost one refresh and all succeed`() {
        network = { everyoneWaits(); it.proceed(it.request()) }
        assertEquals(List(CROWD) { 200 }, fromEveryone())
        assertEquals(1, refreshes.get())
        assertNotEquals(first.refresh, stored?.refresh)
        assertEquals(first.userId, holder.userId)
        assertEquals(0, sessionEnds.get())
    }

    @Test
    fun `a refresh brings the device`() {
        var sent = ""
        network = { chain ->
            sent = Buffer().also { chain.request().body!!.writeTo(it) }.readUtf8()
            chain.proceed(chain.request())
        }
        assertEquals(200, getUser())
        assertTrue(device.toJson().similar(JSONObject(sent).getJSONObject("device")))
    }

    @Test
    fun `the id of a device is made up once and kept`() {
        var kept: String? = null
        val ids = List(2) { Device(load = { kept }, save = { id -> kept = id }).toJson().getString("id") }
        assertEquals(listOf(kept, kept), ids)
        assertTrue(Regex("[A-Za-z0-9_-]{16,64}").matches(ids[0]))
    }

    @Test
    fun `a session that ended elsewhere ends here once`() {
        plain.newCall(to("authorizations", first.access).delete().build()).execute().use { assertEquals(204, it.code) }
        network = { everyoneWaits(); it.proceed(it.request()) }
        assertEquals(List(CROWD) { 401 }, fromEveryone())
        assertEquals(1, refreshes.get())
        assertEquals(1, sessionEnds.get())
        assertNull(stored)
        assertNull(holder.userId)
    }

    @Test
    fun `a refresh whose answer got lost is made up for by the next`() {
        network = { it.proceed(it.request()).close(); throw IOException("the answer got lost") }
        assertThrows<IOException> { getUser() }
        assertEquals(first.refresh, stored?.refresh)

        network = { it.proceed(it.request()) }
        assertEquals(200, getUser())
        assertEquals(2, refreshes.get())
        assertEquals(0, sessionEnds.get())
    }

    @Test
    fun `tokens that could not be saved are not used`() {
        canSave = false
        assertThrows<IOException> { getUser() }

        canSave = true
        assertEquals(200, getUser())
        assertEquals(2, refreshes.get())
    }

    @Test
    fun `no refusal but the server's own signs out`() {
        val unavailable = """{"code":"unavailable"}"""
        val tooMany = """{"code":"too_many_requests"}"""
        val others = listOf(502 to "<html>", 401 to "<html>", 200 to "{}")
        for ((status, body) in listOf(503 to unavailable, 429 to tooMany) + others) {
            network = { it.answer(status, body) }
            assertThrows<IOException>("$status $body") { getUser() }
        }
        assertEquals(first.refresh, stored?.refresh)

        network = { it.answer(403, """{"code":"account_disabled"}""") }
        assertEquals(401, getUser())
        assertEquals(1, sessionEnds.get())
        assertNull(stored)
    }

    @Test
    fun `a failed refresh fails all who waited for it`() {
        network = { everyoneWaits(); throw IOException("no network") }
        assertEquals(List(CROWD) { null }, fromEveryone())
        assertEquals(1, refreshes.get())
    }

    @Test
    fun `a request of one user is never sent again as another`() {
        val others = List(2) { signIn() }
        network = { holder.signedIn(others[0]); it.proceed(it.request()) }
        assertEquals(401, getUser())
        assertEquals(others[0], stored)

        val server = OkHttpClient.Builder().addInterceptor(holder).addInterceptor { chain ->
            assertEquals("Bearer ${others[0].access}", chain.request().header("Authorization"))
            holder.signedIn(others[1])
            chain.answer(401, "")
        }.build()
        assertEquals(401, getUser(server))
    }

    @Test
    fun `signing out ends the session even if the access token has expired`() {
        holder.signOut()
        assertNull(stored)
        val refresh = plain.newCall(to("authorizations", first.refresh).put(ByteArray(0).toRequestBody()).build())
        refresh.execute().use { assertEquals("session_revoked", JSONObject(it.body.string()).getString("code")) }
        assertEquals(0, sessionEnds.get())
    }

    @Test
    fun `signing out works without a network`() {
        network = { throw IOException("no network") }
        holder.signOut()
        assertNull(stored)
        assertNull(holder.userId)
    }

    @Test
    fun `strangers get no token`() {
        val stranger = OkHttpClient.Builder().addInterceptor(holder).addInterceptor { chain ->
            assertNull(chain.request().header("Authorization"))
            chain.answer(200, "")
        }.build()
        assertEquals(200, getUser(stranger, server.replace("127.0.0.1", "localhost")))
    }

    /** Holds the refresh back until every request has met its 401, and all but the one that refreshes wait for it. */
    private fun everyoneWaits() {
        check(refused.await(20, SECONDS))
        while (crowd.count { it.state == Thread.State.WAITING } < CROWD - 1) Thread.sleep(1)
    }

    /** The status that each got; null where there was none. */
    private fun fromEveryone(): List<Int?> {
        val threads = Executors.newFixedThreadPool(CROWD) { work -> Thread(work).also { crowd += it } }
        val answers = threads.invokeAll(List(CROWD) { Callable { try { getUser() } catch (_: IOException) { null } } })
        threads.shutdown()
        return answers.map { it.get() }
    }

    private fun getUser(client: OkHttpClient = app, at: String = server): Int =
        client.newCall(Request.Builder().url("$at/app/v1_0/user").build()).execute().use { it.code }

    private fun signIn(): Tokens {
        val mobile = "13" + (1..9).joinToString("") { ('0'..'9').random().toString() }
        post("sms/codes", JSONObject().put("mobile", mobile).put("device", device.toJson()))
        val inbox = Request.Builder().url("$server/dev/sms").header("Accept", "application/json").build()
        val messages = JSONArray(plain.newCall(inbox).execute().use { it.body.string() }).map { it as JSONObject }
        val code = messages.first { it.getString("mobile") == mobile }.getString("code")
        val request = JSONObject().put("mobile", mobile).put("code", code).put("device", device.toJson())
        val data = post("authorizations", request).getJSONObject("data")
        return Tokens(data.getString("user_id"), data.getString("token"), data.getString("refresh_token"))
    }

    private fun post(path: String, body: JSONObject): JSONObject {
        val request = to(path).post(body.toString().toRequestBody("application/json".toMediaType())).build()
        return JSONObject(plain.newCall(request).execute().use { it.body.string() })
    }

    private fun to(path: String, token: String? = null) = Request.Builder().url("$server/app/v1_0/$path")
        .apply { if (token != null) header("Authorization", "Bearer $token") }

    private fun Interceptor.Chain.answer(status: Int, body: String) = Response.Builder().request(request())
        .protocol(Protocol.HTTP_1_1).code(status).message("").body(body.toResponseBody()).build()
}
