import Synchronization

/// The packs that single records were read from last, unpacked. Records that belong together lie together: the rows of one page
/// come from a few packs, and unpacking one costs a hundred times what reading a record of it does.
///
/// Envelopes only, which hold nothing that is purged; the sealed sections stay in the file's map.
final class PackCache: Sendable {
    /// A pack with what keeps its bytes: the segment's map and the memory that the envelopes were unpacked into.
    struct Kept: Sendable {
        let segment: SealedSegment
        let index: Int
        fileprivate let header: PackHeader
        /// Nil where the envelopes lie in the file as they are.
        fileprivate let memory: MappedRegion?

        /// Valid within `body` only.
        func withPack<Value>(_ body: (UnpackedPack) -> Value) -> Value {
            withExtendedLifetime((segment, memory)) {
                let envelopes = memory?.bytes ?? segment.bytes(header.envelopes)
                return body(UnpackedPack(header: header, envelopes: envelopes, sealed: segment.bytes(header.sealed)))
            }
        }
    }

    /// A pack of the usual size takes 64 KiB.
    static let countMax = 16
    /// Packs of records that are longer than usual are used once.
    static let bytesMax = 256 << 10

    /// The one that was used last at the end.
    private let packs = Mutex<[Kept]>([])

    var count: Int { packs.withLock { $0.count } }

    /// - Throws: `corrupt` when the pack's envelopes do not match their checksum. Sealed sections are not checked: the digest of the
    ///   record that is wanted covers its own.
    func pack(_ index: Int, of segment: SealedSegment) throws(LogError) -> Kept {
        let known = packs.withLock { packs -> Kept? in
            guard let at = packs.lastIndex(where: { $0.index == index && $0.segment === segment }) else { return nil }
            let pack = packs.remove(at: at)
            packs.append(pack)
            return pack
        }
        if let known { return known }
        let buffer = ReusedBuffer()
        let header = try segment.unpack(index, into: buffer, checkSealed: false).header
        let isPacked = header.storedCount != header.envelopeCount
        let memory = isPacked ? buffer.region(header.envelopeCount) : nil
        let kept = Kept(segment: segment, index: index, header: header, memory: memory)
        if header.envelopeCount <= PackCache.bytesMax { keep(kept) }
        return kept
    }

    private func keep(_ pack: Kept) {
        packs.withLock { packs in
            // Two readers may have unpacked it at once.
            guard !packs.contains(where: { $0.index == pack.index && $0.segment === pack.segment }) else { return }
            if packs.count == PackCache.countMax { packs.removeFirst() }
            packs.append(pack)
        }
    }
}
