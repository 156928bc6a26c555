import CLZ4

/// LZ4 blocks without a frame (lz4.org, "LZ4 Block Format"): lengths and checksums are in the format around them.
enum LZ4 {
    /// No block shrinks further than this; a larger claim is a lie and is not given memory.
    static let ratioMax = 255

    /// Appends the compressed form of `source` to `output` and returns its length, or appends `source` itself when that
    /// is not longer.
    static func compress(_ source: UnsafeRawBufferPointer, to output: inout [UInt8]) -> Int {
        let start = output.count
        let bound = Int(LZ4_compressBound(Int32(source.count)))
        output.append(contentsOf: repeatElement(0, count: bound))
        let count = output.withUnsafeMutableBytes { bytes in
            LZ4_compress_default(
                source.baseAddress?.assumingMemoryBound(to: CChar.self),
                (bytes.baseAddress.map { $0 + start })?.assumingMemoryBound(to: CChar.self),
                Int32(source.count),
                Int32(bound)
            )
        }
        output.removeLast(bound - max(0, Int(count)))
        if count > 0, Int(count) < source.count { return Int(count) }
        output.removeLast(output.count - start)
        output.append(contentsOf: source)
        return source.count
    }

    /// Fills `output` exactly; false when `source` is not the compressed form of that many bytes.
    static func decompress(_ source: UnsafeRawBufferPointer, into output: UnsafeMutableRawBufferPointer) -> Bool {
        let count = LZ4_decompress_safe(
            source.baseAddress?.assumingMemoryBound(to: CChar.self),
            output.baseAddress?.assumingMemoryBound(to: CChar.self),
            Int32(source.count),
            Int32(output.count)
        )
        return Int(count) == output.count
    }
}
