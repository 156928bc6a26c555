/// A segment file that is full of durable zeros and waits for its first record.
struct PreparedSegment: Sendable {
    let file: any StorageFile
    let path: String
    let nonce: SegmentNonce
    let size: Int
}

/// Makes segment files ahead of need. A sync into unwritten extents costs about 1.6 times one into written ones, so the
/// zeros are written, not only allocated.
struct SegmentPreparer: Sendable {
    let storage: any Storage
    let directory: String
    let size: Int

    /// What the kernel sees: create, then write of zeros and fdatasync for each mebibyte. The file has a temporary name until it gets its header.
    func prepare() throws(LogError) -> PreparedSegment {
        let nonce = SegmentNonce.random()
        let name = LogPath.preparedPrefix + Hex.encode(Crypto.randomBytes(8)) + LogPath.temporarySuffix
        let path = directory + "/" + name
        let file = try storage.open(path, .create)
        do {
            try fill(file)
        } catch {
            // A file without room is of no use to anyone; leaving it would keep the disk full.
            try? storage.remove(path)
            throw error
        }
        return PreparedSegment(file: file, path: path, nonce: nonce, size: size)
    }

    private func fill(_ file: any StorageFile) throws(LogError) {
        let chunk = [UInt8](repeating: 0, count: min(size, 1 << 20))
        var offset = 0
        while offset < size {
            let count = min(chunk.count, size - offset)
            try file.writeAll(count == chunk.count ? chunk : Array(chunk.prefix(count)), at: offset)
            offset += count
            // Piece by piece: the writer's syncs stand in the same queue, and must not wait for a whole file of zeros.
            try file.sync()
        }
        // Large writes leave large folios in the page cache, and Linux writes a folio back whole: each sync of one block
        // would write up to a megabyte of zeros again. Without them, a block's own pages are all that is dirty.
        file.releaseCache()
    }
}
