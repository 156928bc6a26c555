/// What makes bytes no JSON value, and where. Never quotes them: they may be anybody's message.
package struct JSONFault: Error, CustomStringConvertible {
    private let problem: StaticString
    /// From 1.
    package let line: Int
    /// From 1, in characters.
    package let column: Int

    init(_ problem: StaticString, at offset: Int, in bytes: UnsafeRawBufferPointer) {
        self.problem = problem
        let before = bytes.prefix(offset)
        let lineStart = before.lastIndex(of: 0x0A).map { $0 + 1 } ?? before.startIndex
        line = before.count { $0 == 0x0A } + 1
        // Bytes that continue a character do not count.
        column = before[lineStart...].count { $0 & 0xC0 != 0x80 } + 1
    }

    package var description: String { "\(problem), in line \(line), column \(column)" }
}
