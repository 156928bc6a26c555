import Glibc
import Log

/// The log on its own: durable appends, scanning, verifying, opening. One measure a call, one line of JSON each, so that
/// `run-log` can set them beside their peers.
@main
struct LogBenchmark {
    static func main() async throws {
        let arguments = CommandLine.arguments.dropFirst()
        guard arguments.count >= 2, let measure = arguments.first else { return usage() }
        let directory = arguments.dropFirst().first ?? ""
        let numbers = arguments.dropFirst(2).compactMap { Int($0) }
        switch (measure, numbers.count) {
        case ("append", 3): try await append(directory, numbers[0], numbers[1], seconds: numbers[2])
        case ("append-unsealed", 3):
            try await append(directory, numbers[0], numbers[1], seconds: numbers[2], ready: section(512 - 160))
        case ("bare", 3): try await bare(directory, numbers[0], numbers[1], seconds: numbers[2])
        case ("fill", 2): try await fill(directory, records: numbers[0], bytes: numbers[1])
        case ("read", 0): try read(directory)
        case ("open", 0): try open(directory)
        case ("growth", 1): try await growth(directory, records: numbers[0])
        default: usage()
        }
    }

    private static func usage() {
        print(
            """
            append DIR PRODUCERS BATCH SECONDS   sealed 512-byte records, durable before the next batch
            append-unsealed DIR PRODUCERS BATCH SECONDS   the same with bodies that are sealed already
            bare DIR PRODUCERS BATCH SECONDS     the same producers, opaque bytes, group commit and nothing else
            fill DIR RECORDS BYTES               writes a log, then waits to be killed
            read DIR                             scans and verifies it
            open DIR                             opens it after a crash
            growth DIR RECORDS                   the cost of an append in a short and in a long log
            """
        )
        exit(2)
    }

    // MARK: Durable appends

    private static func append(
        _ directory: String,
        _ producers: Int,
        _ batch: Int,
        seconds: Int,
        ready: [UInt8]? = nil
    ) async throws {
        let sink = try LogSink(directory, ready: ready)
        try await measure(ready == nil ? "append" : "append without sealing", sink, producers, batch, seconds)
        sink.close()
    }

    private static func bare(_ directory: String, _ producers: Int, _ batch: Int, seconds: Int) async throws {
        try await measure("bare loop", try BareLoop(directory), producers, batch, seconds)
    }

    private static func measure(
        _ name: String,
        _ sink: some Sink,
        _ producers: Int,
        _ batch: Int,
        _ seconds: Int
    ) async throws {
        let start = ContinuousClock.now
        let end = start + .seconds(seconds)
        let total = try await withThrowingTaskGroup(of: Int.self) { group in
            for _ in 0..<producers {
                group.addTask {
                    var count = 0
                    while ContinuousClock.now < end {
                        try await sink.store(batch)
                        count += batch
                    }
                    return count
                }
            }
            return try await group.reduce(0, +)
        }
        let elapsed = ContinuousClock.now - start
        report(name, ["producers": producers, "batch": batch], perSecond: Double(total) / elapsed.seconds)
    }

    // MARK: Reading

    /// Fills a log and waits, so that whoever started this can kill it.
    private static func fill(_ directory: String, records: Int, bytes: Int) async throws {
        mkdir(directory, 0o700)
        let log = try EventLog.open(directory: directory + "/log")
        try await add(records, bytes: bytes, to: log)
        print("filled")
        fflush(nil)
        while true { sleep(1) }
    }

    private static func add(_ records: Int, bytes: Int, to log: EventLog) async throws {
        let draft = RecordDraft(
            type: 1,
            payload: [UInt8](repeating: 7, count: 64),
            section: .sealed(section(bytes - 160))
        )
        var left = records
        while left > 0 {
            let count = min(left, 1000)
            do throws(LogError) {
                let last = try log.append(Array(repeating: draft, count: count), expecting: log.next)
                left -= count
                if left == 0 || left % 16_000 == 0 { try await log.waitUntilDurable(last) }
            } catch {
                guard error.code == .overloaded else { throw error }
                try await Task.sleep(for: .milliseconds(5))
            }
        }
    }

    /// A sealed section with one box of random bytes, `count` bytes in all.
    private static func section(_ count: Int) -> [UInt8] {
        let reference = KeyReference(client: 1, leaf: 2, epoch: 3, keyClass: .message).bytes
        let box = Crypto.randomBytes(max(count - 64, 28))
        let length = withUnsafeBytes(of: UInt32(box.count).littleEndian) { [UInt8]($0) }
        return reference + Crypto.randomBytes(32) + [1, 0, 0, 0] + length + box
    }

    private static func read(_ directory: String) throws {
        let reader = try ReadOnlyLog(directory: directory + "/log").reader
        for _ in 0..<3 {
            var sum: UInt64 = 0
            let start = ContinuousClock.now
            try reader.scan(from: LogPosition(1)) { sum &+= $0.client.rawValue &+ UInt64($0.type) &+ $0.time }
            let elapsed = ContinuousClock.now - start
            report("scan", ["check": Int(sum % 1000)], perSecond: Double(reader.end.rawValue) / elapsed.seconds)
        }
        let start = ContinuousClock.now
        let checked = try LogVerifier(directory: directory + "/log").run()
        let elapsed = (ContinuousClock.now - start).seconds
        report(
            "verify",
            ["findings": checked.findings.count, "megabytes_per_second": Int(Double(checked.bytes) / elapsed / 1e6)],
            perSecond: Double(checked.records) / elapsed
        )
    }

    private static func open(_ directory: String) throws {
        let start = ContinuousClock.now
        let log = try EventLog.open(directory: directory + "/log")
        let elapsed = ContinuousClock.now - start
        report("open", ["records": Int(log.durable.rawValue), "milliseconds": Int(elapsed.seconds * 1000)])
        log.close()
    }

    /// Single durable appends, a thousand at a time, at the beginning and behind `records` records.
    private static func growth(_ directory: String, records: Int) async throws {
        mkdir(directory, 0o700)
        let log = try EventLog.open(directory: directory + "/log")
        for size in [1_000_000, records] {
            try await add(size - Int(log.durable.rawValue), bytes: 256, to: log)
            try await Task.sleep(for: .seconds(20))
            let draft = RecordDraft(type: 1, payload: [UInt8](repeating: 7, count: 416))
            var micros: [Int] = []
            for _ in 0..<3000 {
                let start = ContinuousClock.now
                try await log.waitUntilDurable(try log.append([draft], expecting: log.next, flush: .byWaiter))
                micros.append(Int((ContinuousClock.now - start).seconds * 1e6))
            }
            report("append after", ["records": size, "p50_us": micros.sorted()[micros.count / 2]])
        }
        log.close()
    }

    private static func report(_ measure: String, _ facts: [String: Int], perSecond: Double? = nil) {
        var fields = ["\"measure\":\"\(measure)\""]
        fields += facts.sorted { $0.key < $1.key }.map { "\"\($0.key)\":\($0.value)" }
        if let perSecond { fields.append("\"per_second\":\(Int(perSecond))") }
        print("{" + fields.joined(separator: ",") + "}")
        fflush(nil)
    }
}

extension Duration {
    var seconds: Double { Double(components.seconds) + Double(components.attoseconds) / 1e18 }
}
