import Glibc

/// Has every library function bound before anything secret is in memory.
///
/// A function that is bound at its first call goes through the dynamic linker, which saves the vector registers on the stack of
/// the calling thread (glibc, `_dl_runtime_resolve`). What they held then stays there: 32 bytes of a message, on processors
/// with long registers. The executable itself is linked to bind at the start. Its libraries are not, and glibc has no call that
/// binds a loaded library, so the process starts itself once more with LD_BIND_NOW (ld.so(8)).
enum EagerBinding {
    private static let variable = "LD_BIND_NOW"
    /// The process that has started itself again. From one with more rights than its user, glibc takes the other variable
    /// away (2.39 and later), and it would start itself for ever.
    private static let mark = "EAGER_BINDING_PID"
    private static let executable = "/proc/self/exe"

    /// Returns in a process whose functions are all bound; the process id stays the same.
    static func ensure() {
        // As the dynamic linker reads it: an empty value asks for nothing.
        if let value = getenv(variable), value.pointee != 0 { return }
        let process = String(getpid())
        if let value = getenv(mark), String(cString: value) == process {
            return warn(
                "the dynamic linker does not get \(variable), as in files with capabilities; give the process its rights "
                    + "by systemd's AmbientCapabilities"
            )
        }
        setenv(variable, "1", 1)
        setenv(mark, process, 1)
        execv(path(), CommandLine.unsafeArgv)
        execv(executable, CommandLine.unsafeArgv)
        // Without /proc.
        warn("cannot start itself again (errno \(errno)); set \(variable)=1")
    }

    /// Reading commands still work, and who serves should know what is missing.
    private static func warn(_ problem: String) {
        Output.error("waybill: \(problem), or parts of purged bodies may stay in memory")
    }

    /// The file's own name, so that lists of processes show it; a file that was replaced meanwhile has none.
    private static func path() -> String {
        var bytes = [CChar](repeating: 0, count: Int(PATH_MAX))
        let length = readlink(executable, &bytes, bytes.count)
        if length <= 0 { return executable }
        return String(decoding: bytes.prefix(length).map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
}
