import ArgumentParser
import Gateway
import Log
import Projections

struct Replay: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Print the history as JSON lines.",
        discussion:
            "Works beside a running gateway, up to what is durable, and on a damaged log: a damaged record is a line with its "
            + "position and \"damaged\": true, also where a filter is given."
    )

    @Option(help: "The data directory.")
    var data: String
    @Option(help: "First position, or a time in RFC 3339.")
    var from: String?
    @Option(help: "Last position, or a time in RFC 3339.")
    var until: String?
    @Option(help: "Only this client (cl_…).")
    var client: String?
    @Option(help: "Only this conversation (conv_…).")
    var conversation: String?
    @Option(help: "Only this event type.")
    var type: String?
    @Flag(help: "Show bodies; needs the root key.")
    var bodies = false
    @Option(help: "File of the root key; default root.key in the data directory.")
    var keyRoot: String?

    func run() async throws {
        let log = try ReadOnlyLog(directory: data, isSalvage: true)
        guard log.end >= LogPosition(1) else { return }
        let ids = try Replay.ids(log)
        if ids == nil { warnWithoutIDs() }
        let keys = bodies ? try openKeys() : nil
        let filter = try makeFilter(ids)
        let printer = ReplayPrinter(ids: ids, keys: keys)
        let first = try position(from, log, atEnd: false) ?? LogPosition(1)
        let last = try position(until, log, atEnd: true) ?? log.end
        var text: [UInt8] = []
        func flush() {
            Output.write(String(decoding: text, as: UTF8.self), to: 1)
            text.removeAll(keepingCapacity: true)
        }
        var gaps = 0
        defer { flush() }
        try log.reader.salvage(from: first, through: last) { record in
            guard filter.matches(record) else { return }
            text += try printer.line(record)
            text.append(10)
            if text.count > 1 << 16 { flush() }
        } gap: { positions, error in
            gaps += 1
            // In their place, whatever is asked for: nobody knows whose they were.
            for position in positions {
                text += printer.damagedLine(position)
                text.append(10)
                if text.count > 1 << 16 { flush() }
            }
            Output.write(
                "waybill: no record can be shown from \(positions.lowerBound) to \(positions.upperBound): \(error)\n",
                to: 2
            )
        }
        if gaps > 0 || ids == nil { throw ExitCode(1) }
    }

    /// Works beside a writer, which may replace the root key meanwhile.
    private func openKeys() throws -> KeyStore {
        try KeyStore.openForReading(
            directory: data,
            root: try RootKeys.holder(keyRoot ?? data + "/root.key"),
            storage: PosixStorage()
        )
    }

    private func makeFilter(_ ids: OpaqueID?) throws -> ReplayFilter {
        var filter = ReplayFilter()
        if ids == nil, client != nil || conversation != nil {
            throw LogError(
                .corrupt,
                "without the record at position 1 no id can be looked up; leave out --client and --conversation"
            )
        }
        if let client {
            guard let position = ids?.decode(.client, client) else {
                throw ValidationError("--client is not a client id")
            }
            filter.client = position
        }
        if let conversation {
            guard let position = ids?.decode(.conversation, conversation) else {
                throw ValidationError("--conversation is not a conversation id")
            }
            filter.conversation = position
        }
        if let type {
            guard let named = EventType.named(type) else { throw ValidationError("--type is not an event type") }
            filter.type = named
        }
        return filter
    }

    private func position(_ text: String?, _ log: ReadOnlyLog, atEnd: Bool) throws -> LogPosition? {
        guard let text else { return nil }
        if let number = UInt64(text) { return LogPosition(number) }
        guard let time = RFC3339.parse(text) else {
            throw ValidationError("\(text) is neither a position nor a time like 2026-11-01T00:00:00Z")
        }
        let found = try log.reader.position(atOrAfter: time.nanoseconds)
        return atEnd ? LogPosition(found.rawValue - 1) : found
    }

    /// Nil when the record that holds their key is damaged: everything else can be shown without them.
    private static func ids(_ log: ReadOnlyLog) throws -> OpaqueID? {
        var state = LogState()
        do {
            try state.catchUp(log.reader, through: LogPosition(1))
        } catch let error as LogError where error.code == .corrupt {
            return nil
        }
        guard state.idKey.count == OpaqueID.keySize else { return nil }
        return OpaqueID(key: state.idKey, branches: try branches(log))
    }

    /// Where the log went on from a backup, as far as it can be read.
    private static func branches(_ log: ReadOnlyLog) throws -> [OpaqueID.Branch] {
        var branches: [OpaqueID.Branch] = []
        let note = { (view: RecordView) throws in
            let types: [EventType] = [.logRestored, .logSalvaged]
            guard types.contains(where: { $0.rawValue == view.type }) else { return }
            switch try? EventRecord(view).event {
            case .logRestored(let event) where !event.logId.bytes.isEmpty:
                branches.append(event.branch(at: view.position))
            case .logSalvaged(let event): branches.append(event.branch(at: view.position))
            default: return
            }
        }
        try log.reader.salvage(from: LogPosition(1), through: log.end, note, gap: { _, _ in })
        return branches
    }

    private func warnWithoutIDs() {
        Output.error(
            "waybill: the record at position 1, which holds the key of all ids, cannot be read: "
                + "ids are shown as null. Restore segment 1 from a backup to see them"
        )
    }
}
