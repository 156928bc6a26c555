/// The number of a record in the log: from 1, without gaps. 0 stands for "before the first record".
public struct LogPosition: Hashable, Comparable, Sendable, CustomStringConvertible {
    public let rawValue: UInt64

    public init(_ rawValue: UInt64) { self.rawValue = rawValue }

    public static let zero = LogPosition(0)
    public static func < (a: LogPosition, b: LogPosition) -> Bool { a.rawValue < b.rawValue }
    public var description: String { String(rawValue) }

    package func advanced(by count: Int) -> LogPosition { LogPosition(rawValue + UInt64(count)) }
    package var next: LogPosition { LogPosition(rawValue + 1) }
}
