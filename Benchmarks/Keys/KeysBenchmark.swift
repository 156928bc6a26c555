import Glibc
import Log

/// Destroys keys in the patterns that matter and prints what it costs and what is left, beside the plain way: a file with one
/// key for each message, overwritten in place. Every batch is what the gateway does: the requests durable in the log, the keys
/// destroyed, the completion durable.
///
///     BenchmarkKeys DIRECTORY
@main
struct KeysBenchmark {
    static let batch = 1000

    static func main() async throws {
        guard CommandLine.arguments.count == 2 else {
            print("usage: BenchmarkKeys DIRECTORY")
            exit(2)
        }
        let directory = CommandLine.arguments[1]
        mkdir(directory, 0o700)
        print("| measure | result |\n|---|---|")
        try await sizes(directory + "/million", leaves: 1_000_000)
        try await rates(directory + "/ten-million", leaves: 10_000_000)
        try plain(directory + "/plain.keys", leaves: 10_000_000)
    }

    /// What is left of a million leaves after a thousand random purges, and of a few epochs that were purged in order.
    private static func sizes(_ directory: String, leaves: Int) async throws {
        let random = try await Forest(directory + "-random", leaves: leaves)
        _ = try await random.destroy(random.shuffled(1000), batch: batch)
        line("state after 1,000 random purges of 1 million", "\(random.keys.stateBytes) bytes")
        let ordered = try await Forest(directory + "-ordered", leaves: 4 * KeyStore.leavesPerEpoch)
        let all = (0..<ordered.count).map { $0 }
        _ = try await ordered.destroy(all, batch: 8192)
        line("state after all of 4 epochs, in order", "\(ordered.keys.stateBytes / 4) bytes an epoch")
    }

    private static func rates(_ directory: String, leaves: Int) async throws {
        let forest = try await Forest(directory, leaves: leaves)
        line("issued 10 million keys", "\(rate(leaves, forest.issuing)) a second")
        let ordered = try await forest.destroy(Array(0..<100_000), batch: batch)
        report("in order, batches of 1,000", ordered)
        let random = try await forest.destroy(forest.shuffled(20_000), batch: batch)
        report("at random over 10 million, batches of 1,000", random)
        let second = stride(from: 1, to: leaves, by: 2).map { $0 }
        let worst = try await forest.destroy(second, batch: KeyStore.leavesPerEpoch / 2)
        report("every second of 10 million, batches of 32,768", worst)
        let living = leaves / 2
        line(
            "state after that",
            "\(Double(forest.keys.stateBytes) / Double(living)) bytes for each living leaf at most"
        )
    }

    /// One stored key for each message.
    private static func plain(_ path: String, leaves: Int) throws {
        let file = try PosixStorage().open(path, .create)
        for start in stride(from: 0, to: leaves * 32, by: 1 << 20) {
            try file.writeAll(Crypto.randomBytes(min(1 << 20, leaves * 32 - start)), at: start)
        }
        try file.sync()
        var generator = SystemRandomNumberGenerator()
        let zeros = [UInt8](repeating: 0, count: 32)
        for (name, isRandom) in [("in order", false), ("at random", true)] {
            let clock = ContinuousClock()
            let time = try clock.measure {
                for round in 0..<20 {
                    for index in 0..<batch {
                        let leaf = isRandom ? Int.random(in: 0..<leaves, using: &generator) : round * batch + index
                        try file.writeAll(zeros, at: leaf * 32)
                    }
                    try file.sync()
                }
            }
            line("plain, one stored key each: \(name)", "\(rate(20 * batch, time)) a second, state 320000000 bytes")
        }
    }

    private static func report(_ name: String, _ cost: Forest.Cost) {
        line("purges \(name)", "\(rate(cost.count, cost.time)) a second, \(cost.bytes / cost.batches) bytes a batch")
    }

    private static func rate(_ count: Int, _ time: Duration) -> Int { Int(Double(count) / (time / .seconds(1))) }

    private static func line(_ measure: String, _ result: String) { print("| \(measure) | \(result) |") }
}
