/// What a process leaves that goes on writing to a segment after another process has begun the next one.
///
/// Its blocks call durable what the next segment holds otherwise, or not at all. A segment that one writer left is never written
/// to again, and what an opening leaves behind in it calls nothing durable from the next one's first position on.
enum SecondHistory {
    struct Trace: Equatable {
        /// Where the first block lies that says so.
        let offset: Int
        /// The last position that was confirmed.
        let through: LogPosition
    }

    /// - Parameters:
    ///   - end: the first position of the segment that follows.
    ///   - start: where to begin to look.
    static func trace(
        in bytes: UnsafeRawBufferPointer,
        of header: SegmentHeader,
        end: LogPosition,
        from start: Int = Block.size
    ) -> Trace? {
        var (place, through) = (Int?.none, LogPosition.zero)
        var offset = start
        while bytes.count - offset >= Block.size {
            if let block = Block(bytes, at: offset, nonce: header.nonce), block.durableThrough >= end {
                place = place ?? offset
                through = max(through, block.durableThrough)
            }
            offset += Block.size
        }
        return place.map { Trace(offset: $0, through: through) }
    }
}
