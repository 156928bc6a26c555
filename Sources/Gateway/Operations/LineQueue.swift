/// Lines that wait to be written, in bounded memory. Once one is dropped, so are those after it until what waits is taken: what
/// is missing is missing in one place, which says how much it is.
package struct LineQueue: Sendable {
    private let bytesMax: Int
    private var bytes: [UInt8] = []
    private var dropped = 0

    package init(bytesMax: Int) { self.bytesMax = bytesMax }

    package var isEmpty: Bool { bytes.isEmpty && dropped == 0 }

    /// - Parameter line: with its newline.
    package mutating func add(_ line: String) {
        guard dropped == 0, line.utf8.count <= bytesMax - bytes.count else {
            dropped += 1
            return
        }
        bytes.append(contentsOf: line.utf8)
    }

    /// All that waits, and at its end how many lines were dropped since.
    package mutating func take() -> [UInt8] {
        defer {
            bytes = []
            dropped = 0
        }
        if dropped == 0 { return bytes }
        let count = dropped == 1 ? "1 line was" : "\(dropped) lines were"
        return bytes + [UInt8]("waybill: \(count) dropped, because nobody read this output\n".utf8)
    }
}
