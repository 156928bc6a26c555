import CWaybill
import Glibc

/// A small mapped page through which the writer tells other processes how far the log is durable.
///
/// Layout, little-endian: 0 magic "WBSTATUS", 8 durable position. The page is a hint for readers beside a live writer
/// and is never trusted after the writer has gone: then the segments themselves say what they hold.
final class StatusPage: Sendable {
    private static let magic: UInt64 = 0x5355_5441_5453_4257
    private static let size = 4096
    private let address: UInt

    private init(_ base: UnsafeMutableRawPointer) { address = UInt(bitPattern: base) }

    deinit {
        if let base = UnsafeMutableRawPointer(bitPattern: address) { munmap(base, StatusPage.size) }
    }

    /// Creates or takes over the page. It is written in full first, so that stores through the map meet real blocks.
    static func create(_ path: String, durable: LogPosition) throws(LogError) -> StatusPage {
        let descriptor = waybill_open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard descriptor >= 0 else { throw unusable(path) }
        defer { close(descriptor) }
        let zeros = [UInt8](repeating: 0, count: size)
        guard pwrite(descriptor, zeros, size, 0) == size else { throw unusable(path) }
        let base = mmap(nil, size, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0)
        guard let base, base != MAP_FAILED else { throw unusable(path) }
        let page = StatusPage(base)
        page.publish(durable: durable)
        // Last: from here on readers believe the page.
        page.word(0) { waybill_store_release($0, magic) }
        return page
    }

    /// Removes the page of an earlier process, which says nothing about what recovery will find. Readers that hold it
    /// open are as old as it is.
    static func forget(_ path: String) { unlink(path) }

    /// Nil when there is no page or it is not one.
    static func read(_ path: String) -> LogPosition? {
        let descriptor = waybill_open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW, 0)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        var words: (UInt64, UInt64) = (0, 0)
        let count = withUnsafeMutableBytes(of: &words) { pread(descriptor, $0.baseAddress, 16, 0) }
        return count == 16 && words.0 == magic ? LogPosition(words.1) : nil
    }

    func publish(durable: LogPosition) { word(8) { waybill_store_release($0, durable.rawValue) } }

    private func word(_ offset: UInt, _ body: (UnsafeMutablePointer<UInt64>) -> Void) {
        if let pointer = UnsafeMutablePointer<UInt64>(bitPattern: address + offset) { body(pointer) }
    }

    private static func unusable(_ path: String) -> LogError {
        LogError(.inputOutput, "could not map \(path): \(String(cString: strerror(errno)))", errno: errno)
    }
}
