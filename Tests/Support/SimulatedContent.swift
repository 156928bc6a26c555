import Glibc

/// The bytes of one simulated file: what the page cache holds, and what the medium holds wherever the two differ.
///
/// Each 512-byte sector is in one of three states. *Clean*: cache and medium agree. *Dirty*: written and not synced; the
/// next sync brings it to the medium. *Abandoned*: a sync failed, and the kernel has marked the page clean although the
/// medium never got it; it stays readable until the machine stops, and no later sync writes it.
///
/// `@unchecked Sendable`: everything is touched only with the lock of its `SimulatedStorage` held, except the cache memory,
/// which maps read without a lock just as they read the page cache of a real system.
final class SimulatedContent: @unchecked Sendable {
    enum Sector: UInt8 {
        case clean
        case dirty
        case abandoned
    }

    static let sectorSize = 512
    /// The largest size a simulated file can have. Memory is only taken for pages that somebody writes.
    static let capacity = 8 << 20

    private let cache: UnsafeMutableRawPointer
    /// What the medium holds in sectors that are not clean and lie below `mediumSize`.
    private var before: UnsafeMutableRawPointer?
    private var sectors: [Sector] = []
    /// Bytes of the cache from here on were never written and are zero.
    private var touched = 0
    private(set) var size = 0
    private(set) var mediumSize = 0
    /// Where the file lies now, for messages and hooks.
    var path: String

    init(path: String) {
        self.path = path
        cache = SimulatedContent.allocate()
    }

    deinit {
        munmap(cache, SimulatedContent.capacity)
        if let before { munmap(before, SimulatedContent.capacity) }
    }

    private static func allocate() -> UnsafeMutableRawPointer {
        let flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE
        guard let memory = mmap(nil, capacity, PROT_READ | PROT_WRITE, flags, -1, 0), memory != MAP_FAILED else {
            preconditionFailure("no memory for a simulated file")
        }
        return memory
    }

    /// The cache, which stays in one place as long as this object lives.
    var memory: UnsafeMutableRawPointer { cache }

    var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: cache, count: size) }

    var hasUnsynced: Bool { size != mediumSize || sectors.contains { $0 != .clean } }

    // MARK: System calls

    func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int) -> Int {
        let count = max(0, min(buffer.count, size - offset))
        if count > 0 { buffer.copyMemory(from: UnsafeRawBufferPointer(start: cache + offset, count: count)) }
        return count
    }

    func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) {
        guard let source = bytes.baseAddress, bytes.count > 0 else { return }
        let end = offset + bytes.count
        precondition(
            end <= SimulatedContent.capacity,
            "a simulated file holds at most \(SimulatedContent.capacity) bytes"
        )
        dirty(offset..<end)
        // Zeros over bytes that are still zero need no memory: this is what filling a new segment does.
        if offset < touched || !SimulatedContent.isZero(bytes) {
            (cache + offset).copyMemory(from: source, byteCount: bytes.count)
            touched = max(touched, end)
        }
        size = max(size, end)
    }

    func sync() {
        guard hasUnsynced else { return }
        for index in sectors.indices {
            if sectors[index] == .dirty { sectors[index] = .clean }
            let start = index * SimulatedContent.sectorSize
            // The medium grows over an abandoned sector: what it holds there is nothing.
            if sectors[index] == .abandoned, start >= mediumSize {
                memset(saved(start), 0, SimulatedContent.sectorSize)
            }
        }
        mediumSize = size
    }

    /// What Linux does when writing back fails: the pages count as clean from now on.
    func failSync() {
        for index in sectors.indices where sectors[index] == .dirty { sectors[index] = .abandoned }
    }

    func truncate(to newSize: Int) {
        if newSize < size {
            dirty(newSize..<size)
            let end = min(size, touched)
            if newSize < end { memset(cache + newSize, 0, end - newSize) }
        }
        size = newSize
    }

    // MARK: Crash

    /// What a machine that stops now finds on its disk afterwards.
    func crashed(
        using generator: inout SeededGenerator,
        _ options: CrashOptions,
        stale: SimulatedContent?
    )
        -> SimulatedContent
    {
        let image = SimulatedContent(path: path)
        let keepsSize = size == mediumSize || Bool.random(using: &generator)
        image.cache.copyMemory(from: cache, byteCount: touched)
        image.touched = touched
        image.size = keepsSize ? size : mediumSize
        let unsynced = sectors.indices.filter { sectors[$0] != .clean }
        let fate = SectorFate(of: unsynced, using: &generator)
        for index in unsynced {
            let start = index * SimulatedContent.sectorSize
            let undoesTruncation = start >= size && !keepsSize
            if !undoesTruncation, fate.keeps(index, using: &generator) { continue }
            image.lose(start, of: self, undoesTruncation ? .old : options.lostSectors, stale: stale, using: &generator)
        }
        if image.size < image.touched { memset(image.cache + image.size, 0, image.touched - image.size) }
        image.mediumSize = image.size
        return image
    }

    /// Puts what the medium had, or what a half-finished sector write left, in place of what the cache held.
    private func lose(
        _ start: Int,
        of original: SimulatedContent,
        _ content: CrashOptions.LostSector,
        stale: SimulatedContent?,
        using generator: inout SeededGenerator
    ) {
        let target = cache + start
        touched = max(touched, start + SimulatedContent.sectorSize)
        switch content {
        case .garbage where generator.chance(0.5):
            target.copyMemory(
                from: generator.bytes(SimulatedContent.sectorSize),
                byteCount: SimulatedContent.sectorSize
            )
        case .stale where stale != nil && generator.chance(0.5):
            if let stale { target.copyMemory(from: stale.cache + start, byteCount: SimulatedContent.sectorSize) }
        default:
            let old = start < original.mediumSize ? original.before : nil
            if let old {
                target.copyMemory(from: old + start, byteCount: SimulatedContent.sectorSize)
            } else {
                memset(target, 0, SimulatedContent.sectorSize)
            }
        }
    }

    /// One unsynced sector lands where it does not belong, over whatever lay there.
    func misdirect(using generator: inout SeededGenerator, from original: SimulatedContent) {
        let unsynced = original.sectors.indices.filter { original.sectors[$0] != .clean }
        let count = size / SimulatedContent.sectorSize
        guard let source = unsynced.randomElement(using: &generator), count > 0 else { return }
        let target = Int.random(in: 0..<count, using: &generator) * SimulatedContent.sectorSize
        let bytes = original.cache + source * SimulatedContent.sectorSize
        (cache + target).copyMemory(from: bytes, byteCount: SimulatedContent.sectorSize)
        touched = max(touched, target + SimulatedContent.sectorSize)
    }

    /// Changes cache and medium behind everyone's back, as a failing disk does.
    func damage(at offset: Int, _ body: (UnsafeMutableRawBufferPointer) -> Void) {
        touched = max(touched, size)
        body(UnsafeMutableRawBufferPointer(start: cache + offset, count: size - offset))
    }

    // MARK: Sectors

    /// Marks the sectors of a range dirty and keeps what the medium holds in those that were clean.
    private func dirty(_ range: Range<Int>) {
        let first = range.lowerBound / SimulatedContent.sectorSize
        let last = (range.upperBound - 1) / SimulatedContent.sectorSize
        if last >= sectors.count {
            sectors.append(contentsOf: repeatElement(.clean, count: last + 1 - sectors.count))
        }
        for index in first...last {
            let start = index * SimulatedContent.sectorSize
            if sectors[index] == .clean, start < mediumSize {
                saved(start).update(from: (cache + start).assumingMemoryBound(to: UInt64.self), count: 64)
            }
            sectors[index] = .dirty
        }
    }

    private func saved(_ start: Int) -> UnsafeMutablePointer<UInt64> {
        let memory = before ?? SimulatedContent.allocate()
        before = memory
        return (memory + start).assumingMemoryBound(to: UInt64.self)
    }

    private static func isZero(_ bytes: UnsafeRawBufferPointer) -> Bool {
        guard let base = bytes.baseAddress, bytes.count > 0 else { return true }
        return base.load(as: UInt8.self) == 0 && memcmp(base, base + 1, bytes.count - 1) == 0
    }
}

/// Which unsynced sectors of one file survive a crash. Uniformly random subsets alone would almost never keep or lose a
/// whole group, so the shape is drawn first.
private enum SectorFate {
    case all
    case none
    case before(Int)
    case from(Int)
    case only(Int)
    case allBut(Int)
    case pages(UInt64)
    case each(Double)

    init(of unsynced: [Int], using generator: inout SeededGenerator) {
        let sector = unsynced.randomElement(using: &generator) ?? 0
        switch Int.random(in: 0..<10, using: &generator) {
        case 0: self = .all
        case 1: self = .none
        case 2: self = .before(sector)
        case 3: self = .from(sector)
        case 4: self = .only(sector)
        case 5: self = .allBut(sector)
        case 6: self = .pages(generator.next())
        case 7: self = .each(0.95)
        case 8: self = .each(0.05)
        default: self = .each(0.5)
        }
    }

    func keeps(_ sector: Int, using generator: inout SeededGenerator) -> Bool {
        switch self {
        case .all: return true
        case .none: return false
        case .before(let end): return sector < end
        case .from(let start): return sector >= start
        case .only(let one): return sector == one
        case .allBut(let one): return sector != one
        case .pages(let mask): return mask >> UInt64(sector / 8 % 64) & 1 == 1
        case .each(let probability): return generator.chance(probability)
        }
    }
}
