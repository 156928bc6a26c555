import Log
import Projections

extension Ledger {
    /// Destroys keys away from the threads that serve requests, because it waits for the disk.
    func destroyKeys(_ targets: [KeyStore.Target]) async throws -> (before: UInt64, after: UInt64) {
        try await DiskWork.run { [keys] in try keys.destroy(targets) }
    }

    /// Puts the generation of the root key on record, unless the history ends with it.
    func recordRootKey(_ generation: UInt64) async throws {
        try await commitOutcome { state, _ in
            guard state.rootGeneration < generation else { return [] }
            var event = RootKeyRotated()
            event.generationBefore = state.rootGeneration
            event.generationAfter = generation
            return [NewEvent(.rootKeyRotated(event))]
        }
    }
}
