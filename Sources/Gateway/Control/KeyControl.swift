import Log
import Projections

/// Rotation of the root key and of the key that signs checkpoints: the same whether asked through the socket or on a closed
/// data directory.
package struct KeyControl: Sendable {
    /// Which key is to be replaced.
    package enum Key: String, Sendable {
        case root
        case log
    }

    private let ledger: Ledger
    private let checkpointer: Checkpointer

    package init(_ ledger: Ledger, _ checkpointer: Checkpointer) {
        self.ledger = ledger
        self.checkpointer = checkpointer
    }

    /// Replaces a key, puts it on record and describes it as JSON.
    package func rotate(_ key: Key) async throws -> [UInt8] {
        switch key {
        case .root: return try await rotateRoot()
        case .log:
            let verifierKey = try await checkpointer.rotate(ledger)
            return JSONWriter.object { $0.string("vkey", verifierKey) }
        }
    }

    private func rotateRoot() async throws -> [UInt8] {
        let generations = try await ledger.destroyKeys([])
        try await ledger.recordRootKey(generations.after)
        return JSONWriter.object { json in
            json.object("root_key_generation") { json in
                json.number("before", generations.before)
                json.number("after", generations.after)
            }
        }
    }
}
