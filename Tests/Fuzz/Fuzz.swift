import Glibc
import Log
import Projections
import TestSupport

/// libFuzzer over every decoder of the log, of events, and of what comes in over HTTP. The first byte of an input chooses a decoder, the rest is what
/// somebody hostile hands it. Whatever comes, no decoder may crash, hang, or accept what it then reads wrongly.
///
/// Run by `scripts/test --long`; alone: `scripts/fuzz SECONDS`.
@main
struct Fuzz {
    static func main() {
        var count = CommandLine.argc
        var arguments = CommandLine.unsafeArgv
        exit(
            runDriver(&count, &arguments) { start, count in
                guard count > 1, let start else { return 0 }
                let bytes = UnsafeRawBufferPointer(start: start + 1, count: count - 1)
                targets[Int(start[0]) % targets.count](bytes)
                return 0
            }
        )
    }
}

/// libFuzzer's own loop, for programs that keep their `main` (FuzzerInterface.h).
@_silgen_name("LLVMFuzzerRunDriver")
private func runDriver(
    _ count: UnsafeMutablePointer<CInt>,
    _ arguments: UnsafeMutablePointer<UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>>,
    _ test: @convention(c) (UnsafePointer<UInt8>?, Int) -> CInt
) -> CInt

private let targets: [@Sendable (UnsafeRawBufferPointer) -> Void] = [
    segmentHeader, block, group, record, sealedSection, notes, tilePath, eventPayloads, identifiers, damagedLog,
    tileFile, jsonValue, formBody, metaWebhook, mediaFile, mediaAnswers,
]

// MARK: Decoders of single structures

@Sendable private func segmentHeader(_ bytes: UnsafeRawBufferPointer) {
    var page = padded(bytes, to: 4096)
    _ = page.withUnsafeBytes { SegmentHeader($0) }
    // Behind the checksum, which a fuzzer would hardly ever hit.
    setChecksum(&page, at: 8, over: 12..<4096)
    if let header = page.withUnsafeBytes({ SegmentHeader($0) }) {
        precondition(header.encode() == page, "a header is read as it is written")
    }
}

@Sendable private func block(_ bytes: UnsafeRawBufferPointer) {
    var copy = padded(bytes, to: max(64, bytes.count))
    setChecksum(&copy, at: 4, over: 8..<64)
    copy.withUnsafeBytes { buffer in
        for offset in [0, 8, 64] {
            _ = Block(buffer, at: offset, nonce: SegmentNonce.random())
        }
    }
}

@Sendable private func group(_ bytes: UnsafeRawBufferPointer) {
    var frame = padded(bytes, to: max(GroupHeader.size, bytes.count))
    setChecksum(&frame, at: 4, over: 8..<GroupHeader.size)
    _ = frame.withUnsafeBytes { GroupHeader($0) }
}

@Sendable private func record(_ bytes: UnsafeRawBufferPointer) {
    for offset in 0..<min(bytes.count, 16) {
        guard let record = RecordView(bytes, at: offset) else { continue }
        _ = record.computedDigest
        _ = try? EventRecord(record)
        precondition(record.payload.count + record.sealed.count + 96 <= record.length)
    }
}

@Sendable private func sealedSection(_ bytes: UnsafeRawBufferPointer) {
    guard let section = SealedSection(bytes) else { return }
    for purpose in SealedPurpose.allCases {
        precondition(
            section.open(purpose, leaf: LeafKey(.zero), position: LogPosition(1)) == nil,
            "nobody has this key"
        )
    }
}

@Sendable private func notes(_ bytes: UnsafeRawBufferPointer) {
    let text = String(decoding: bytes, as: UTF8.self)
    if let note = SignedNote(text) {
        precondition(SignedNote(note.encoded)?.encoded == note.encoded, "a note is read as it is written")
        _ = Checkpoint(text: note.text)
    }
    _ = Checkpoint(text: text)
    if let key = VerifierKey(text) { precondition(VerifierKey(key.description) == key) }
    _ = Base64.decode(text)
    _ = Hex.decode(text)
    _ = Base32.decode(text, count: 16)
}

@Sendable private func tilePath(_ bytes: UnsafeRawBufferPointer) {
    let text = String(decoding: bytes, as: UTF8.self)
    if let path = TilePath(text) { precondition(path.text == text, "there is one way to write an address") }
}

// MARK: Events

@Sendable private func eventPayloads(_ bytes: UnsafeRawBufferPointer) {
    guard bytes.count > 2 else { return }
    let payload = [UInt8](bytes.dropFirst(2))
    let draft = RecordDraft(
        type: UInt16(bytes[0]) | UInt16(bytes[1] & 3) << 8,
        client: LogPosition(1),
        payload: Array(payload.prefix(400_000))
    )
    var encoded = [UInt8](repeating: 0, count: draft.encodedSize)
    encoded.withUnsafeMutableBytes {
        _ = draft.encode(position: LogPosition(2), time: 1, sealer: BoxSealer(), into: $0)
    }
    encoded.withUnsafeBytes { buffer in
        guard let view = RecordView(buffer, at: 0), let event = try? EventRecord(view) else { return }
        var state = LogState()
        state.apply(event)
    }
}

@Sendable private func identifiers(_ bytes: UnsafeRawBufferPointer) {
    let text = String(decoding: bytes, as: UTF8.self)
    let ids = OpaqueID(key: [UInt8](repeating: 7, count: 32))
    for kind in OpaqueID.Kind.allCases { _ = ids.decode(kind, text) }
    _ = RFC3339.parse(text)
}

// MARK: Whole files

/// A log with a sealed segment and a written one, patched with what the fuzzer says: four bytes file and place, one length.
@Sendable private func damagedLog(_ bytes: UnsafeRawBufferPointer) {
    guard let sample = FuzzedLog.sample else { return }
    let log = sample.patched(bytes)
    let report = try? LogVerifier(directory: FuzzedLog.directory, storage: log.storage).run()
    guard let reader = try? ReadOnlyLog(directory: FuzzedLog.directory, storage: log.storage).reader else { return }
    var seen: [Digest] = []
    try? reader.scan(from: LogPosition(1)) { seen.append($0.computedDigest) }
    if let report, report.findings.isEmpty {
        precondition(seen == Array(sample.digests.prefix(seen.count)), "a log that verifies reads as it was written")
    }
    for position in stride(from: UInt64(1), through: 60, by: 7) { _ = try? reader.record(at: LogPosition(position)) }
    _ = try? reader.position(atOrAfter: 1_000_000_005)
}

private func padded(_ bytes: UnsafeRawBufferPointer, to count: Int) -> [UInt8] {
    [UInt8](bytes.prefix(count)) + [UInt8](repeating: 0, count: max(0, count - bytes.count))
}

/// Makes the checksum right, so that the fields behind it are looked at.
func setChecksum(_ bytes: inout [UInt8], at offset: Int, over range: Range<Int>) {
    let checksum = bytes.withUnsafeBytes { Checksum.crc32c($0, range) }
    for index in 0..<4 { bytes[offset + index] = UInt8(truncatingIfNeeded: checksum >> UInt32(8 * index)) }
}
