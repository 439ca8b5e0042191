import java.io.IOException
import java.io.InterruptedIOException
import java.util.concurrent.ExecutionException
import java.util.concurrent.FutureTask
import okhttp3.HttpUrl.Companion.toHttpUrl
import okhttp3.Interceptor
import okhttp3.MediaType.Companion.toMediaType
import okhttp3.OkHttpClient
import okhttp3.Request
import okhttp3.RequestBody.Companion.toRequestBody
import okhttp3.Response
import org.json.JSONException
import org.json.JSONObject

private val JSON = "application/json".toMediaType()
private val REFUSALS = setOf("refresh_token_invalid", "refresh_token_reused", "session_revoked", "account_disabled")

data class Tokens(val userId: String, val access: String, val refresh: String)

/**
 * Keeps an app signed in. As an interceptor of the app's OkHttpClient it adds the access token to each request; when
 * that no longer counts, it gets fresh tokens and sends the request once more. Sign out off the main thread: it blocks.
 */
class TokenHolder(
    server: String,
    load: () -> Tokens?,
    private val save: (Tokens?) -> Unit,
    private val device: Device,
    /** The server has ended the session: show the sign-in screen. */
    private val onSessionEnd: () -> Unit,
    /** Who may see the access token; nobody else gets it, whatever address the app calls. */
    private val hosts: Set<String> = setOf(server.toHttpUrl().host),
    private val http: OkHttpClient = OkHttpClient(),
) : Interceptor {
    private val authorizations = Request.Builder().url("${server.trimEnd('/')}/app/v1_0/authorizations").build()

    @Volatile
    private var tokens = load()
    private var refreshing: FutureTask<Tokens?>? = null

    val userId: String? get() = tokens?.userId

    fun signedIn(fresh: Tokens) = replace(fresh)

    /** Succeeds without a network, too; the session that is left on the server then ends by its age. */
    fun signOut() {
        val last = synchronized(this) { tokens.also { replace(null) } } ?: return
        try {
            if (endSession(last) == 401) trade(last)?.let(::endSession)
        } catch (_: IOException) {
        }
    }

    override fun intercept(chain: Interceptor.Chain): Response {
        val request = chain.request()
        val used = tokens
        if (used == null || request.url.host !in hosts) return chain.proceed(request)
        val response = chain.proceed(request.bearing(used.access))
        if (response.code != 401) return response
        val fresh = runCatching { refreshed(used) }.onFailure { response.close() }.getOrThrow()
        if (fresh == null || request.body?.isOneShot() == true) return response
        response.close()
        return chain.proceed(request.bearing(fresh.access))
    }

    /** However many requests need fresh tokens, one asks the server and the others wait for what it gets. */
    private fun refreshed(used: Tokens): Tokens? {
        val task = synchronized(this) {
            // A request that one user began must not be sent again as another.
            if (tokens !== used) return tokens?.takeIf { it.userId == used.userId }
            refreshing ?: FutureTask { refresh(used) }.also { refreshing = it }
        }
        task.run() // Does nothing in all threads but the first.
        try {
            return task.get()
        } catch (failure: ExecutionException) {
            throw IOException("No fresh tokens for now", failure.cause)
        } catch (_: InterruptedException) {
            throw InterruptedIOException()
        }
    }

    private fun refresh(used: Tokens): Tokens? {
        try {
            val fresh = trade(used)
            synchronized(this) {
                if (tokens !== used) return null
                replace(fresh)
            }
            if (fresh == null) onSessionEnd()
            return fresh
        } finally {
            synchronized(this) { if (tokens === used) refreshing = null }
        }
    }

    /** Saved before anyone can use them: once a new refresh token was used, the server takes the old one for stolen. */
    @Synchronized
    private fun replace(fresh: Tokens?) {
        save(fresh)
        tokens = fresh
        refreshing = null
    }

    /**
     * Null: refused for good. Any failure leaves the old tokens in force: even if the server did handle the request and
     * only its answer was lost, the same refresh token may be sent again.
     */
    private fun trade(old: Tokens): Tokens? {
        // A refresh keeps the device known, and makes one known that signed in before the app had an id.
        val body = JSONObject().put("device", device.toJson()).toString().toRequestBody(JSON)
        val request = authorizations.newBuilder().put(body).build().bearing(old.refresh)
        http.newCall(request).execute().use { response ->
            try {
                val answer = JSONObject(response.body.string())
                if (answer.optString("code") in REFUSALS) return null
                if (response.code != 201) throw IOException("The refresh was answered with ${response.code}")
                val data = answer.getJSONObject("data")
                return Tokens(data.getString("user_id"), data.getString("token"), data.getString("refresh_token"))
            } catch (notJson: JSONException) {
                throw IOException("The refresh was answered by something else", notJson)
            }
        }
    }

    private fun endSession(last: Tokens): Int =
        http.newCall(authorizations.newBuilder().delete().build().bearing(last.access)).execute().use { it.code }

    private fun Request.bearing(token: String) = newBuilder().header("Authorization", "Bearer $token").build()
}
