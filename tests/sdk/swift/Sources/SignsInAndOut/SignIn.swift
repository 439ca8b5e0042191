import Phonepass

func signIn(
    _ server: PhonepassAPIConfiguration, mobile: String, readCode: () async throws -> String
) async throws -> TokenSet {
    _ = try await SMSCodesAPI.sendSmsCode(smsCodeRequest: SmsCodeRequest(mobile: mobile), apiConfiguration: server)
    let answer = SmsCodeSignIn(code: try await readCode(), mobile: mobile)
    return try await AuthorizationsAPI.signInWithSmsCode(smsCodeSignIn: answer, apiConfiguration: server).data
}
