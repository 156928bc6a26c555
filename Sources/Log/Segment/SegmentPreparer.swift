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

    /// What the kernel sees: create, direct writes of zeros, fdatasync. The file has a temporary name until it gets its header.
    func prepare() throws(LogError) -> PreparedSegment {
        let nonce = SegmentNonce.random()
        let name = LogPath.preparedPrefix + Hex.encode(Crypto.randomBytes(8)) + LogPath.temporarySuffix
        let path = directory + "/" + name
        do {
            // Past the page cache: it would copy the zeros, and keep them in large folios, which Linux writes back whole, so
            // that each later sync of one block would write up to a megabyte of zeros again.
            try fill(try storage.open(path, .createUncached))
            return PreparedSegment(file: try storage.open(path, .readWrite), path: path, nonce: nonce, size: size)
        } catch {
            // A file without room is of no use to anyone; leaving it would keep the disk full.
            try? storage.remove(path)
            throw error
        }
    }

    private func fill(_ file: any StorageFile) throws(LogError) {
        let zeros = UnsafeMutableRawBufferPointer.allocate(byteCount: BackgroundIO.piece, alignment: Block.size)
        defer { zeros.deallocate() }
        zeros.initializeMemory(as: UInt8.self, repeating: 0)
        var offset = 0
        while offset < size {
            let piece = UnsafeRawBufferPointer(rebasing: zeros.prefix(size - offset))
            try file.write(piece, at: offset)
            offset += piece.count
        }
        try file.sync()
        // Where the file system knows no such writes, the cache has it all.
        file.releaseCache()
    }
}
