import Glibc
import Log

/// One append at a time against the disk's own write and fdatasync into a zero-filled file, interleaved in one run, so
/// that a disk that changes its pace does so for both.
@main
struct AppendBenchmark {
    static func main() async throws {
        let directory = CommandLine.arguments.dropFirst().first ?? "/tmp/waybill-append-bench"
        let rounds = CommandLine.arguments.dropFirst(2).first.flatMap { Int($0) } ?? 2000
        let durability = CommandLine.arguments.dropFirst(3).first.flatMap { LogConfiguration.Durability(rawValue: $0) }
        mkdir(directory, 0o700)
        var configuration = LogConfiguration()
        configuration.durability = durability ?? .normal
        let log = try EventLog.open(directory: directory + "/log", configuration: configuration)
        let raw = try RawFile(path: directory + "/raw", size: 64 << 20)
        var appends: [Double] = []
        var syncs: [Double] = []
        let payload = [UInt8](repeating: 7, count: 512 - 96)
        for round in 0..<rounds {
            syncs.append(try measure { try raw.writeAndSync(block: round) })
            let start = ContinuousClock.now
            let position = try log.append(
                [RecordDraft(type: 1, payload: payload)],
                expecting: log.next,
                flush: .byWaiter
            )
            try await log.waitUntilDurable(position)
            appends.append(milliseconds(ContinuousClock.now - start))
        }
        log.close()
        report("fdatasync after a 4 KiB write", syncs)
        report("append of one 512-byte record", appends)
        print("ratio of medians: \(rounded(median(appends) / median(syncs)))")
    }

    private static func measure(_ body: () throws -> Void) rethrows -> Double {
        let start = ContinuousClock.now
        try body()
        return milliseconds(ContinuousClock.now - start)
    }

    private static func milliseconds(_ duration: Duration) -> Double {
        Double(duration.components.attoseconds) / 1e15 + Double(duration.components.seconds) * 1000
    }

    private static func median(_ values: [Double]) -> Double { values.sorted()[values.count / 2] }

    private static func report(_ name: String, _ values: [Double]) {
        let sorted = values.sorted()
        let high = sorted[sorted.count * 95 / 100]
        print("\(name): p50 \(rounded(median(values))) ms, p95 \(rounded(high)) ms")
    }

    private static func rounded(_ value: Double) -> Double { (value * 1000).rounded() / 1000 }
}

/// The machine's own limit: the least that durable storage of one block costs.
struct RawFile {
    private let descriptor: Int32
    private let page = [UInt8](repeating: 1, count: 4096)
    private let blocks: Int

    init(path: String, size: Int) throws {
        descriptor = open(path, O_RDWR | O_CREAT | O_TRUNC, 0o600)
        blocks = size / 4096
        guard descriptor >= 0 else { throw LogError(.inputOutput, "could not open \(path)") }
        let zeros = [UInt8](repeating: 0, count: 1 << 20)
        for offset in stride(from: 0, to: size, by: zeros.count) {
            guard pwrite(descriptor, zeros, zeros.count, off_t(offset)) == zeros.count else {
                throw LogError(.inputOutput, "could not fill \(path)")
            }
        }
        fdatasync(descriptor)
    }

    func writeAndSync(block: Int) throws {
        let offset = off_t(block % blocks) * 4096
        guard pwrite(descriptor, page, page.count, offset) == page.count, fdatasync(descriptor) == 0 else {
            throw LogError(.inputOutput, "could not write the raw file")
        }
    }
}
