import COpenSSL
import Glibc

/// A list of keys in pages of their own that stay in RAM, stay out of core dumps, and are overwritten before they go.
///
/// Locking is asked for and not insisted on: where the limit (`ulimit -l`) is used up, keys may reach the swap area, as
/// `docs/keys.md` says.
struct LockedKeys: Sendable {
    private var pages: Pages
    private(set) var count = 0

    init(capacity: Int = 1) { pages = Pages(capacity * Digest.size) }

    subscript(_ index: Int) -> Digest {
        get {
            precondition(index < count)
            return Digest(UnsafeRawBufferPointer(pages.memory), at: index * Digest.size)
        }
        set {
            precondition(index < count)
            ownPages(pages.memory.count)
            pages.memory.storeBytes(of: newValue, toByteOffset: index * Digest.size, as: Digest.self)
        }
    }

    mutating func append(_ key: Digest) {
        let needed = (count + 1) * Digest.size
        ownPages(needed > pages.memory.count ? pages.memory.count * 2 : pages.memory.count)
        count += 1
        self[count - 1] = key
    }

    /// Makes sure that nobody else sees what is changed, and that there is room.
    private mutating func ownPages(_ size: Int) {
        if isKnownUniquelyReferenced(&pages), pages.memory.count >= size { return }
        let own = Pages(size)
        own.memory.copyMemory(from: UnsafeRawBufferPointer(pages.memory))
        pages = own
    }

    /// `@unchecked Sendable`: its bytes are changed only by a list that alone refers to it.
    private final class Pages: @unchecked Sendable {
        let memory: UnsafeMutableRawBufferPointer

        init(_ count: Int) {
            let size = Block.roundUp(max(count, 1))
            let base = mmap(nil, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
            precondition(base != MAP_FAILED, "out of memory for keys")
            mlock(base, size)
            madvise(base, size, MADV_DONTDUMP)
            memory = UnsafeMutableRawBufferPointer(start: base, count: size)
        }

        deinit {
            OPENSSL_cleanse(memory.baseAddress, memory.count)
            munmap(memory.baseAddress, memory.count)
        }
    }
}
