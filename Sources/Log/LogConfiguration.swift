/// Every size, interval and policy of a log. Passed in, never read from a global.
public struct LogConfiguration: Sendable {
    public enum Durability: String, Sendable {
        /// Acknowledge after the sync that covers the record; the durable mark follows when the log is idle.
        case normal
        /// Write and sync the durable mark before acknowledging, so that damage to the very last group is recognised.
        case strict
    }

    /// Size of a segment file, in bytes; a multiple of 4096, at least 1 MiB.
    public var segmentBytes = 64 << 20
    public var durability = Durability.normal
    /// A group frame's body is closed before it passes this many bytes; a single batch may be larger.
    public var groupBytesMax = 1 << 20
    /// Bytes that may wait for the disk before `append` answers `overloaded`.
    public var pendingBytesMax = 64 << 20
    /// Room at the end of a segment that edges may not use once the disk is full, in bytes.
    public var reserveBytes = 4 << 20
    /// How long the log is idle before the durable mark is written.
    public var idleMarkDelay = Duration.milliseconds(50)

    /// Whether segments that another one followed are rewritten in the background, compressed.
    public var sealing = true

    /// How long a pass of the background check over the whole log takes; nil for no such check.
    public var scrubInterval: Duration? = .seconds(7 * 86_400)

    public init() {}

    /// The largest body of one record's frame, from the format: 512 KiB.
    public static let recordBytesMax = 512 << 10

    func validated() throws(LogError) -> LogConfiguration {
        guard segmentBytes >= 1 << 20, segmentBytes % Block.size == 0, segmentBytes <= 1 << 30 else {
            throw LogError(
                .inputOutput,
                "log.segment_bytes must be a multiple of 4096 between 1 MiB and 1 GiB, not \(segmentBytes)"
            )
        }
        var checked = self
        // Outcomes need a reserve also in the small segments that tests use.
        checked.reserveBytes = min(reserveBytes, segmentBytes / 4)
        checked.groupBytesMax = min(groupBytesMax, segmentBytes / 4)
        return checked
    }
}
