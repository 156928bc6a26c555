import Gateway
import Log
import Projections
import TestSupport

// What comes from outside: bodies of requests, and a cache that anybody may have written.

/// Whatever is accepted means the same when it is written down and read again.
@Sendable func jsonValue(_ bytes: UnsafeRawBufferPointer) {
    guard let value = JSONParser.parse([UInt8](bytes)) else { return }
    var writer = JSONWriter()
    render(value, into: &writer)
    precondition(JSONParser.parse(writer.bytes) == value, "a value is read as it is written")
    _ = try? JSONFields([UInt8](bytes))
}

private func render(_ value: JSONValue, into json: inout JSONWriter) {
    switch value {
    case .null: json.null()
    case .bool(let value): json.bool(value)
    case .integer(let value): json.number(value)
    case .number(let value): json.raw([UInt8]("\(value)".utf8))
    case .string(let value): json.string(value)
    case .array(let elements):
        json.array { json in
            for element in elements { json.element { render(element, into: &$0) } }
        }
    case .object(let members):
        json.object { json in
            for (name, member) in members {
                json.key(dynamic: name)
                render(member, into: &json)
            }
        }
    }
}

@Sendable func formBody(_ bytes: UnsafeRawBufferPointer) {
    guard let form = FormBody([UInt8](bytes)) else { return }
    let again = FormBody(FormBody.encode(form.fields.map { ($0.name, $0.value) }))
    precondition(
        again?.fields.elementsEqual(form.fields, by: ==) == true,
        "fields are read as they are written"
    )
}

/// Whatever Meta's servers sign is taken apart without harm, each item by itself; and what has to wait for its message means the
/// same when it is read again.
@Sendable func metaWebhook(_ bytes: UnsafeRawBufferPointer) {
    guard let json = ProviderJSON([UInt8](bytes)) else { return }
    for event in MetaWebhook.events(json) {
        precondition(ProviderJSON(event.bytes) != nil, "an item is a value of its own")
        switch event.action {
        case .edit, .unsend, .reaction, .report:
            let again = ProviderJSON(MetaWebhook.envelope(of: event)).flatMap {
                MetaWebhook.events($0).first { $0.action == event.action }
            }
            precondition(again?.duplicateKey == event.duplicateKey, "an envelope gives the event again")
        default: break
        }
    }
}

/// The cache of the tree: its hashes are taken as they stand, no more than were asked for, and none from another log's.
@Sendable func tileFile(_ bytes: UnsafeRawBufferPointer) {
    guard let most = bytes.first, let sample = FuzzedLog.sample, let id = sample.id else { return }
    let file = TileFile(directory: FuzzedLog.directory, id: id, isReadOnly: true, storage: sample.storage)
    for content in [[UInt8](bytes), [UInt8]("WBTREE01".utf8) + id.bytes + [UInt8](repeating: 0, count: 8) + bytes] {
        sample.replace(TileFile.name, with: content)
        let hashes = file.load(most: Int(most)).flatMap(\.bytes)
        precondition(hashes.count <= Int(most) * 32 && content.dropFirst(32).starts(with: hashes))
    }
}
