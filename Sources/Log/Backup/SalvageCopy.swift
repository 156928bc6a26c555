/// Makes a log of what is whole in a damaged one. Every whole record keeps its position, its time and its bytes; something else
/// stands in the place of each that is lost, so that positions stay without gaps.
package struct SalvageCopy: Sendable {
    /// More positions than this are not lost by damage: some number in the files is not what it was.
    private static let lostMax: UInt64 = 1 << 24

    package struct Outcome: Sendable {
        /// The last position that was taken over.
        package let through: LogPosition
        /// The runs of positions that are lost, in order.
        package let lost: [ClosedRange<UInt64>]
        /// The name of the log that was read, as its groups have it.
        package let logID: [UInt8]

        package var lostCount: UInt64 { lost.reduce(0) { $0 + UInt64($1.count) } }
    }

    private let log: ReadOnlyLog

    /// - Parameter log: opened to be salvaged.
    package init(_ log: ReadOnlyLog) { self.log = log }

    /// - Parameters:
    ///   - filler: makes what stands at a position that is lost, given that position and the run it belongs to.
    ///   - progress: told of each record.
    /// - Throws: `notFound` when nothing is whole, `inputOutput` or `diskFull`.
    package func write(
        to directory: String,
        segmentBytes: Int,
        storage: any Storage = PosixStorage(),
        filler: (LogPosition, ClosedRange<UInt64>) -> RecordDraft,
        progress: (LogPosition) -> Void = { _ in }
    ) throws -> Outcome {
        var writer = SalvageWriter(storage: storage, directory: directory, segmentBytes: segmentBytes)
        var lost: [ClosedRange<UInt64>] = []
        var count: UInt64 = 0
        var waiting: UInt64 = 0
        try log.reader.salvage(from: LogPosition(1), through: log.end) { view in
            if let run = lost.last, waiting > 0 {
                // Each had a time of its own between its neighbours, so there is room for as many.
                try fill(run, before: view.time, &writer, filler)
                waiting = 0
            }
            try writer.add(StoredRecord(view))
            progress(view.position)
        } gap: { positions, _ in
            count += UInt64(positions.count)
            guard count <= SalvageCopy.lostMax else {
                throw LogError(.corrupt, "positions up to \(positions.upperBound) cannot be lost; run waybill verify")
            }
            waiting += UInt64(positions.count)
            if let before = lost.last, before.upperBound + 1 == positions.lowerBound {
                lost[lost.count - 1] = before.lowerBound...positions.upperBound
            } else {
                lost.append(positions)
            }
        }
        guard writer.last > .zero else { throw LogError(.notFound, "no record is whole; restore a backup") }
        if let run = lost.last, waiting > 0 {
            try fill(run, before: writer.lastTime + waiting + 1, &writer, filler)
        }
        try writer.finish()
        return Outcome(through: writer.last, lost: lost, logID: log.id?.bytes ?? [])
    }

    private func fill(
        _ run: ClosedRange<UInt64>,
        before time: UInt64,
        _ writer: inout SalvageWriter,
        _ filler: (LogPosition, ClosedRange<UInt64>) -> RecordDraft
    ) throws(LogError) {
        guard time > UInt64(run.count) else {
            throw LogError(.corrupt, "the time of position \(run.upperBound + 1) leaves no room before it")
        }
        for position in run {
            try writer.add(filler(LogPosition(position), run), time: time - (run.upperBound - position) - 1)
        }
    }
}
