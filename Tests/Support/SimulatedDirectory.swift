/// One simulated directory: its entries as the running system sees them, as the medium has them, and the changes between.
///
/// `@unchecked Sendable`: touched only with the lock of its `SimulatedStorage` held.
final class SimulatedDirectory: @unchecked Sendable {
    enum Node {
        case file(SimulatedContent)
        case directory(SimulatedDirectory)

        var identity: ObjectIdentifier {
            switch self {
            case .file(let content): ObjectIdentifier(content)
            case .directory(let directory): ObjectIdentifier(directory)
            }
        }
    }

    /// A change that is volatile until the directory is synced. Each happens as a whole or not at all.
    private enum Change {
        case add(String, Node)
        case remove(String, Node)
        case rename(String, String, Node)

        /// The name that is different afterwards.
        var name: String {
            switch self {
            case .add(let name, _), .remove(let name, _), .rename(_, let name, _): name
            }
        }
    }

    private(set) var entries: [String: Node] = [:]
    private var medium: [String: Node] = [:]
    private var changes: [Change] = []

    func add(_ name: String, _ node: Node) { perform(.add(name, node)) }

    func remove(_ name: String) {
        if let node = entries[name] { perform(.remove(name, node)) }
    }

    func rename(_ source: String, to target: String) {
        if let node = entries[source] { perform(.rename(source, target, node)) }
    }

    func sync() {
        medium = entries
        changes = []
    }

    private func perform(_ change: Change) {
        SimulatedDirectory.apply(change, to: &entries)
        changes.append(change)
    }

    private static func apply(_ change: Change, to names: inout [String: Node]) {
        switch change {
        case .add(let name, let node): names[name] = node
        case .remove(let name, let node):
            if names[name]?.identity == node.identity { names[name] = nil }
        case .rename(let source, let target, let node):
            if names[source]?.identity == node.identity { names[source] = nil }
            names[target] = node
        }
    }

    /// What is left of the directory after a crash, with everything in it.
    ///
    /// Each file and change has draws of its own, by its name. So what happens to a segment does not depend on how far
    /// some other thread has got with a temporary file, and a seed can be repeated.
    func crashed(seed: UInt64, _ options: CrashOptions) -> SimulatedDirectory {
        let image = SimulatedDirectory()
        let survivors = survivingEntries(seed: seed).sorted { $0.key < $1.key }
        let named = survivors.filter { !SimulatedDirectory.isTemporary($0.key) }
        let contents = named.compactMap { if case .file(let content) = $0.value { content } else { nil } }
        for (name, node) in survivors {
            var generator = SimulatedDirectory.generator(seed, name)
            switch node {
            case .directory(let directory):
                image.entries[name] = .directory(directory.crashed(seed: generator.next(), options))
            case .file(let content):
                let other = contents.filter { $0 !== content }.randomElement(using: &generator)
                image.entries[name] = .file(content.crashed(using: &generator, options, stale: other))
            }
        }
        image.medium = image.entries
        return image
    }

    /// A journal keeps a prefix of the changes; other file systems may keep any of them.
    private func survivingEntries(seed: UInt64) -> [String: Node] {
        var survivors = medium
        var generator = SeededGenerator(seed: seed)
        let keepsPrefix = Bool.random(using: &generator)
        for change in changes {
            var generator = SimulatedDirectory.generator(seed, change.name)
            let isLost = generator.chance(keepsPrefix ? 0.3 : 0.5)
            if !isLost { SimulatedDirectory.apply(change, to: &survivors) }
            if isLost, keepsPrefix, !SimulatedDirectory.isTemporary(change.name) { break }
        }
        return survivors
    }

    private static func isTemporary(_ name: String) -> Bool { name.hasSuffix(".tmp") }

    /// Temporary files have random names, so all of them share their draws.
    private static func generator(_ seed: UInt64, _ name: String) -> SeededGenerator {
        SeededGenerator(seed: seed, name: isTemporary(name) ? ".tmp" : name)
    }

    /// One sector that was on its way lands elsewhere in its file, in the image.
    func misdirect(in image: SimulatedDirectory, using generator: inout SeededGenerator) {
        let originals = files().filter { $0.value.hasUnsynced }.sorted { $0.key < $1.key }
        guard let (path, original) = originals.randomElement(using: &generator) else { return }
        image.files()[path]?.misdirect(using: &generator, from: original)
    }

    /// Every file below this directory, by path.
    func files(under path: String = "") -> [String: SimulatedContent] {
        var found: [String: SimulatedContent] = [:]
        for (name, node) in entries {
            switch node {
            case .file(let content): found[path + "/" + name] = content
            case .directory(let directory): found.merge(directory.files(under: path + "/" + name)) { first, _ in first }
            }
        }
        return found
    }
}
