import Log
import Projections

/// The sealed part of a client's endpoint: where webhooks go and what they carry besides.
struct EndpointSettings: Sendable, Equatable {
    var url = ""
    var headers: [(name: String, value: String)] = []

    init() {}

    init(_ json: [UInt8]) throws {
        let fields = try JSONFields(json)
        url = try fields.string("url") ?? ""
        let members = try fields.object("headers")
        headers = try (members?.names ?? []).map { ($0, try members?.string($0) ?? "") }
    }

    var json: [UInt8] {
        JSONWriter.object { json in
            json.string("url", url)
            json.object("headers") { json in
                for header in headers {
                    json.key(dynamic: header.name)
                    json.string(header.value)
                }
            }
        }
    }

    static func == (a: EndpointSettings, b: EndpointSettings) -> Bool { a.json == b.json }
}
