import phonepass.apis.AuthorizationsApi
import phonepass.apis.SMSCodesApi
import phonepass.models.SmsCodeRequest
import phonepass.models.SmsCodeSignIn
import phonepass.models.TokenSet

fun signIn(server: String, mobile: String, askForCode: () -> String): TokenSet {
    SMSCodesApi(server).sendSmsCode(SmsCodeRequest(mobile))
    return AuthorizationsApi(server).signInWithSmsCode(SmsCodeSignIn(mobile = mobile, code = askForCode())).data
}
