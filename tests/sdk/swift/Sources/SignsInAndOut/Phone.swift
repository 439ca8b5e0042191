import Foundation
#if canImport(FoundationNetworking)
import FoundationNetworking
#endif

/// A phone of the tests: it has a number that nobody had before and shows the codes that were sent to it.
struct Phone: Sendable {
    let server: String
    let mobile = "1\(Int.random(in: 3_000_000_000...9_999_999_999))"

    private struct Message: Decodable {
        let mobile: String
        let code: String
    }

    func readCode() async throws -> String {
        var request = URLRequest(url: URL(string: "\(server)/dev/sms")!)
        request.setValue("application/json", forHTTPHeaderField: "Accept")
        let (page, _) = try await URLSession.shared.data(for: request)
        let messages = try JSONDecoder().decode([Message].self, from: page)
        return messages.first { $0.mobile == mobile }!.code
    }
}
