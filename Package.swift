// swift-tools-version: 6.2
import PackageDescription

/// One list for every Swift target, so that no target is checked less strictly than another.
let settings: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .treatAllWarnings(as: .error),
]

/// Of the C shims: what the compiler adds against stack overruns, copies beyond a buffer and jumps to where no function begins.
#if arch(x86_64)
let guardedBranches = "-fcf-protection=full"
#else
let guardedBranches = "-mbranch-protection=standard"
#endif
let hardening: [CSetting] = [
    .unsafeFlags(["-fstack-protector-strong", guardedBranches]),
    .define("_FORTIFY_SOURCE", to: "2", .when(configuration: .release)),
]

/// Of the executable: its functions are bound at the start, and what they are called through is read-only from then on.
let binding: [LinkerSetting] = [.unsafeFlags(["relro", "now"].flatMap { ["-Xlinker", "-z", "-Xlinker", $0] })]

/// libFuzzer's run-time is linked in only for who asks (`scripts/fuzz`).
let fuzzing: [Target] =
    Context.environment["WAYBILL_FUZZ"] == nil
    ? []
    : [
        .executableTarget(
            name: "fuzz",
            dependencies: ["Gateway", "Log", "Projections", "TestSupport"],
            path: "Tests/Fuzz",
            swiftSettings: settings,
            linkerSettings: [.unsafeFlags(["-sanitize=fuzzer", "-use-ld=lld"])]
        )
    ]

let package = Package(
    name: "waybill",
    platforms: [.macOS(.v15)],
    products: [
        .executable(name: "waybill", targets: ["CLI"]),
        .library(name: "Log", targets: ["Log"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.0"),
        .package(url: "https://github.com/apple/swift-collections", from: "1.6.0"),
        .package(url: "https://github.com/apple/swift-http-types", from: "1.8.0"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.0"),
        .package(url: "https://github.com/apple/swift-nio", from: "2.101.0"),
        .package(url: "https://github.com/apple/swift-nio-ssl", from: "2.37.0"),
        .package(url: "https://github.com/hummingbird-project/hummingbird", from: "2.28.0"),
        .package(url: "https://github.com/jpsim/Yams", from: "6.2.0"),
        .package(url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.13.0"),
    ],
    targets: [
        .systemLibrary(name: "CLZ4"),
        .systemLibrary(name: "COpenSSL"),
        .systemLibrary(name: "CCurl"),
        .target(name: "CPKCS11", cSettings: hardening),
        .target(name: "CWaybill", cSettings: hardening),
        .target(name: "CZeroing", cSettings: hardening),
        .target(name: "Log", dependencies: ["CLZ4", "COpenSSL", "CPKCS11", "CWaybill"], swiftSettings: settings),
        .target(
            name: "Projections",
            dependencies: [
                "Log",
                .product(name: "DequeModule", package: "swift-collections"),
                .product(name: "HeapModule", package: "swift-collections"),
            ],
            swiftSettings: settings
        ),
        .target(
            name: "Gateway",
            dependencies: [
                "Projections", "Log", "CCurl",
                .product(name: "Hummingbird", package: "hummingbird"),
                .product(name: "HummingbirdCore", package: "hummingbird"),
                .product(name: "HummingbirdTLS", package: "hummingbird"),
                .product(name: "HummingbirdHTTP2", package: "hummingbird"),
                .product(name: "HTTPTypes", package: "swift-http-types"),
                .product(name: "Logging", package: "swift-log"),
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOHTTP1", package: "swift-nio"),
                .product(name: "NIOSSL", package: "swift-nio-ssl"),
                .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
                .product(name: "Yams", package: "Yams"),
            ],
            resources: [.embedInCode("Resources/openapi.yaml")],
            swiftSettings: settings
        ),
        .executableTarget(
            name: "CLI",
            dependencies: [
                "Gateway", "Projections", "Log", "CZeroing",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "Logging", package: "swift-log"),
                .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
                .product(name: "UnixSignals", package: "swift-service-lifecycle"),
            ],
            swiftSettings: settings,
            linkerSettings: binding
        ),
        .executableTarget(
            name: "BenchmarkAppend",
            dependencies: ["Log"],
            path: "Benchmarks/Append",
            swiftSettings: settings
        ),
        .executableTarget(
            name: "BenchmarkLog",
            dependencies: ["Log"],
            path: "Benchmarks/Log",
            swiftSettings: settings
        ),
        .executableTarget(
            name: "BenchmarkKeys",
            dependencies: ["Log"],
            path: "Benchmarks/Keys",
            swiftSettings: settings
        ),
        .executableTarget(
            name: "BenchmarkBaseline",
            dependencies: [
                .product(name: "Hummingbird", package: "hummingbird"),
                .product(name: "NIOCore", package: "swift-nio"),
            ],
            path: "Benchmarks/Baseline",
            swiftSettings: settings
        ),
        .target(
            name: "TestSupport",
            dependencies: ["Log"],
            path: "Tests/Support",
            swiftSettings: settings
        ),
        // Only for tests that count: it stands before the C library's functions in the program that links it.
        .target(name: "CTestSupport", path: "Tests/CTestSupport"),
        .testTarget(
            name: "LogTests",
            dependencies: ["Log", "TestSupport", "CTestSupport"],
            swiftSettings: settings
        ),
        .testTarget(
            name: "ProjectionsTests",
            dependencies: ["Projections", "Log", "TestSupport"],
            swiftSettings: settings
        ),
        .testTarget(
            name: "GatewayTests",
            dependencies: [
                "Gateway", "Projections", "Log", "TestSupport",
                .product(name: "HummingbirdTesting", package: "hummingbird"),
            ],
            swiftSettings: settings
        ),
    ] + fuzzing
)
