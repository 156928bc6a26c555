import Glibc

/// The clocks of the machine, and which boot of it this is. A simulation brings its own.
package struct ClockSources: Sendable {
    /// UTC nanoseconds since 1970 as the machine is set, which anybody may set anew.
    package let wall: @Sendable () -> UInt64
    package let boot: @Sendable () -> BootTime
    /// Tells one boot from the next; empty where nobody knows.
    package let bootID: [UInt8]

    package init(
        wall: @escaping @Sendable () -> UInt64,
        boot: @escaping @Sendable () -> BootTime,
        bootID: [UInt8] = []
    ) {
        self.wall = wall
        self.boot = boot
        self.bootID = bootID
    }

    package static let system = ClockSources(wall: systemWall, boot: { .now }, bootID: systemBootID())

    private static let systemWall: @Sendable () -> UInt64 = {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        // Before 1970 there is nothing.
        let (whole, overflow) = UInt64(max(time.tv_sec, 0)).multipliedReportingOverflow(by: 1_000_000_000)
        let (sum, carried) = whole.addingReportingOverflow(UInt64(max(time.tv_nsec, 0)))
        return overflow || carried ? .max : sum
    }

    /// The 16 bytes that Linux draws when it starts.
    private static func systemBootID() -> [UInt8] {
        guard let file = fopen("/proc/sys/kernel/random/boot_id", "re") else { return [] }
        defer { fclose(file) }
        var text = [UInt8](repeating: 0, count: 64)
        let count = fread(&text, 1, text.count, file)
        let digits = text.prefix(count).compactMap { Character(UnicodeScalar($0)).hexDigitValue }
        guard digits.count == 32 else { return [] }
        return stride(from: 0, to: 32, by: 2).map { UInt8(digits[$0] << 4 | digits[$0 + 1]) }
    }
}
