// Does the client that openapi-generator makes for Kotlin (OkHttp, Moshi: as in an Android app) take a user from the
// SMS code to the sign-out, and does it say in its own types what went wrong?
import com.squareup.moshi.adapter
import okhttp3.OkHttpClient
import okhttp3.Request
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertFalse
import org.junit.jupiter.api.Assertions.assertNotEquals
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.assertThrows
import phonepass.apis.AuthorizationsApi
import phonepass.apis.SMSCodesApi
import phonepass.apis.UserApi
import phonepass.infrastructure.ClientError
import phonepass.infrastructure.ClientException
import phonepass.infrastructure.Serializer
import phonepass.models.ErrorBody
import phonepass.models.SmsCodePurpose
import phonepass.models.SmsCodeRequest
import phonepass.models.SmsCodeSignIn

private val server: String = System.getenv("PHONEPASS_URL")

class KotlinClientTest {
    private val mobile = "13" + (1..9).joinToString("") { ('0'..'9').random().toString() }

    @Test
    fun `a user signs in, stays signed in and signs out`() {
        val tokens = signIn(server, mobile) { lastCode() }
        assertTrue(tokens.isNewUser)

        val user = UserApi(server).apply { accessTokenProvider = { tokens.token } }.getCurrentUser().data
        assertEquals(tokens.userId, user.id)
        assertEquals(mobile, user.mobile)

        val authorizations = AuthorizationsApi(server)
        authorizations.accessTokenProvider = { tokens.refreshToken }
        val fresh = authorizations.refreshToken().data
        assertEquals(tokens.userId, fresh.userId)
        assertNotEquals(tokens.refreshToken, fresh.refreshToken)
        assertFalse(fresh.isNewUser)

        authorizations.accessTokenProvider = { fresh.token }
        assertEquals(204, authorizations.signOutWithHttpInfo().statusCode)

        val refused = assertThrows<ClientException> {
            UserApi(server).apply { accessTokenProvider = { fresh.token } }.getCurrentUser()
        }
        assertEquals(401, refused.statusCode)
        assertEquals("session_revoked", refused.error.code)
    }

    @Test
    fun `a wrong code is refused with the tries that are left`() {
        SMSCodesApi(server).sendSmsCode(SmsCodeRequest(mobile, purpose = SmsCodePurpose.LOGIN))
        val wrong = if (lastCode() == "000000") "000001" else "000000"
        val refused = assertThrows<ClientException> {
            AuthorizationsApi(server).signInWithSmsCode(SmsCodeSignIn(mobile = mobile, code = wrong))
        }
        assertEquals(400, refused.statusCode)
        assertEquals("sms_code_invalid", refused.error.code)
        assertEquals(4, refused.error.attemptsLeft)
    }

    @OptIn(ExperimentalStdlibApi::class)
    private fun lastCode(): String {
        val request = Request.Builder().url("$server/dev/sms").header("Accept", "application/json").build()
        val json = OkHttpClient().newCall(request).execute().use { it.body.string() }
        val messages = Serializer.moshi.adapter<List<Map<String, String>>>().fromJson(json)!!
        return messages.first { it["mobile"] == mobile }.getValue("code")
    }
}

private val ClientException.error: ErrorBody
    get() = Serializer.moshi.adapter(ErrorBody::class.java).fromJson((response as ClientError<*>).body as String)!!
