// Can a Swift program sign a user in and out, and read an error's code?
import Foundation
import Phonepass

@main
struct SignsInAndOut {
    static let server = ProcessInfo.processInfo.environment["PHONEPASS_URL"]!

    static func main() async throws {
        try await aNewUserSignsInRefreshesAndSignsOut()
        try await aWrongCodeIsRefusedWithTheTriesThatAreLeft()
    }

    static func client(token: String? = nil) -> PhonepassAPIConfiguration {
        PhonepassAPIConfiguration(
            basePath: server,
            customHeaders: token.map { ["Authorization": "Bearer \($0)"] } ?? [:]
        )
    }

    static func aNewUserSignsInRefreshesAndSignsOut() async throws {
        let phone = Phone(server: server)
        let tokens = try await signIn(client(), mobile: phone.mobile, readCode: phone.readCode)
        precondition(tokens.isNewUser)

        let refreshing = client(token: tokens.refreshToken)
        let refreshed = try await AuthorizationsAPI.refreshToken(apiConfiguration: refreshing).data
        precondition(refreshed.userId == tokens.userId)

        let app = client(token: refreshed.token)
        let user = try await UserAPI.getCurrentUser(apiConfiguration: app).data
        precondition(user.id == tokens.userId && user.mobile == phone.mobile)

        let signedOut = try await AuthorizationsAPI.signOutWithRequestBuilder(apiConfiguration: app).execute()
        precondition(signedOut.statusCode == 204)

        let (status, error) = try await refusal { _ = try await UserAPI.getCurrentUser(apiConfiguration: app) }
        precondition(status == 401 && error.code == "session_revoked")
    }

    static func aWrongCodeIsRefusedWithTheTriesThatAreLeft() async throws {
        let phone = Phone(server: server)
        let (status, error) = try await refusal {
            _ = try await signIn(client(), mobile: phone.mobile) {
                try await phone.readCode() == "000000" ? "111111" : "000000"
            }
        }
        precondition(status == 400 && error.code == "sms_code_invalid" && error.attemptsLeft == 4)
    }

    static func refusal(of call: () async throws -> Void) async throws -> (status: Int, error: ErrorBody) {
        do {
            try await call()
        } catch ErrorResponse.error(let status, let body?, _, _) {
            return (status, try JSONDecoder().decode(ErrorBody.self, from: body))
        }
        preconditionFailure("the service accepted what it should refuse")
    }
}
