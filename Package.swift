// swift-tools-version: 6.2

import PackageDescription

/// The same strict settings for every Swift target.
let strict: [SwiftSetting] = [
  .swiftLanguageMode(.v6),
  .enableUpcomingFeature("ExistentialAny"),
  .enableUpcomingFeature("InternalImportsByDefault"),
  .enableUpcomingFeature("MemberImportVisibility"),
  .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
  .strictMemorySafety(),
  .treatAllWarnings(as: .error),
]

/// The engine is optimised in debug builds as well, because the tests are mostly its work: that halves their
/// time. A package that depends on this one must not find such flags; it has its sources in `checkouts`.
/// `QATLAS_DEBUG=1` leaves them out for a debugger.
let isOptimised =
  Context.environment["QATLAS_DEBUG"] == nil && !Context.packageDirectory.contains("/checkouts/")
let engine = strict + (isOptimised ? [.unsafeFlags(["-O"], .when(configuration: .debug))] : [])

/// What people install is one file that needs no other: to find, map and bind eleven libraries costs a start more than
/// `info` of an image does. Only archives are taken, so that nothing is opened before it is used either, and what a
/// start passes through lies side by side (`Tests/start-order`). Builds for debugging and tests stay with the libraries
/// of the system.
let alone: [LinkerSetting] =
  isOptimised
  ? [
    .unsafeFlags(
      [
        "-static-executable", "-use-ld=lld", "-ltinfo", "-lgpg-error", "-l_FoundationCollections",
        "-l_FoundationCShims", "-Xlinker",
        "--symbol-ordering-file=\(Context.packageDirectory)/Sources/start.order", "-Xlinker",
        "--no-warn-symbol-ordering",
      ], .when(configuration: .release))
  ] : []

/// Test targets use the same settings but for memory-safety marks, which `#expect` expansions lack.
let testSettings: [SwiftSetting] = [
  .swiftLanguageMode(.v6),
  .enableUpcomingFeature("ExistentialAny"),
  .enableUpcomingFeature("MemberImportVisibility"),
]

/// Tests that start programs. `QATLAS_TESTS=fast` leaves them out, so that nobody waits for them to be
/// compiled who runs only the fast tests of the others.
let programTests: [Target] = [
  .testTarget(
    name: "ConformanceTests",
    dependencies: ["Storage", "QcowFormat", "Qcow", "EngineSupport", "TestSupport", "qatlas"],
    exclude: ["Vectors"], swiftSettings: testSettings),
  .testTarget(
    name: "CheckTests", dependencies: ["Storage", "QcowFormat", "Qcow", "TestSupport", "qatlas"],
    swiftSettings: testSettings),
  .testTarget(
    name: "TerminalTests", dependencies: ["Explorer", "CellScreen", "TestSupport", "qatlas"],
    swiftSettings: testSettings),
  .testTarget(
    name: "CommandLineTests",
    dependencies: [
      "Storage", "QcowFormat", "Qcow", "Cartography", "ToolText", "Explorer", "TestSupport", "EngineSupport",
      "qatlas", "extents", .product(name: "ArgumentParser", package: "swift-argument-parser"),
    ],
    swiftSettings: testSettings),
]

let package = Package(
  name: "qatlas",
  products: [
    .executable(name: "qatlas", targets: ["qatlas"]),
    .executable(name: "qatlas-bench", targets: ["qatlas-bench"]),
    .library(name: "QatlasKit", targets: ["QatlasKit"]),
  ],
  dependencies: [
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2")
  ],
  targets: [
    // Ground floor: the system.
    .target(name: "CSys"),
    .systemLibrary(name: "CNcurses"),
    .systemLibrary(name: "CZlib"),
    .systemLibrary(name: "CDeflate"),
    .systemLibrary(name: "CZstd"),
    .systemLibrary(name: "CGcrypt"),

    // The engine, bottom up.
    .target(name: "Storage", dependencies: ["CSys"], swiftSettings: engine),
    .target(name: "Nbd", dependencies: ["CSys", "Storage"], swiftSettings: engine),
    .target(name: "QcowFormat", dependencies: ["Storage"], swiftSettings: engine),
    .target(
      name: "Qcow",
      dependencies: ["CSys", "Storage", "Nbd", "QcowFormat", "CZlib", "CDeflate", "CZstd", "CGcrypt"],
      swiftSettings: engine),
    .target(
      name: "Cartography", dependencies: ["CSys", "Storage", "QcowFormat", "Qcow"], swiftSettings: engine),

    // The disk for others: a server, and what it shares.
    .target(
      name: "Live", dependencies: ["CSys", "Storage", "Nbd", "QcowFormat", "Qcow"], swiftSettings: engine),

    // What other programs see of the engine.
    .target(
      name: "QatlasKit", dependencies: ["Storage", "QcowFormat", "Qcow"], swiftSettings: strict),

    // What the genuine tools say.
    .target(
      name: "ToolText", dependencies: ["Storage", "Nbd", "QcowFormat", "Qcow", "Cartography"],
      resources: [.embedInCode("Lab/boot.trace")], swiftSettings: engine),

    // Lessons and questions: what is asked of an image, played without a screen.
    .target(
      name: "Course", dependencies: ["Storage", "QcowFormat", "Qcow", "Cartography", "ToolText"],
      resources: [.embedInCode("Lessons")], swiftSettings: engine),

    // The screen.
    .target(name: "CellScreen", dependencies: ["CSys", "Storage"], swiftSettings: strict),
    .target(
      name: "Explorer",
      dependencies: [
        "Storage", "QcowFormat", "Qcow", "Live", "Cartography", "ToolText", "Course", "CellScreen",
      ], swiftSettings: strict),
    .target(
      name: "TerminalHost", dependencies: ["CSys", "CNcurses", "CellScreen"], swiftSettings: strict),

    // The programs.
    .executableTarget(
      name: "qatlas",
      dependencies: [
        "CSys", "Storage", "Nbd", "QcowFormat", "Qcow", "Live", "Cartography", "ToolText", "Course",
        "CellScreen",
        "Explorer",
        "TerminalHost",
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
      ], swiftSettings: strict, linkerSettings: alone),
    .executableTarget(
      name: "qatlas-bench",
      dependencies: ["CSys", "qatlas", .product(name: "ArgumentParser", package: "swift-argument-parser")],
      swiftSettings: strict),

    // What tests share. `TestSupport` drives programs: pipes, pseudo terminals, tmux.
    .target(name: "CPty", path: "Tests/CPty"),
    .target(
      name: "TestSupport", dependencies: ["CPty"], path: "Tests/TestSupport", swiftSettings: testSettings),
    .target(
      name: "EngineSupport", dependencies: ["Storage", "QcowFormat", "Qcow", "TestSupport"],
      path: "Tests/EngineSupport", swiftSettings: testSettings),
    .target(
      name: "ExplorerSupport",
      dependencies: ["Storage", "QcowFormat", "Qcow", "Course", "CellScreen", "Explorer"],
      path: "Tests/ExplorerSupport", swiftSettings: testSettings),
    .target(
      name: "FuzzTargets",
      dependencies: ["Storage", "QcowFormat", "Qcow", "Cartography", "ToolText", "Explorer"],
      path: "Tests/FuzzTargets", swiftSettings: testSettings),
    .executableTarget(
      name: "terminal-probe", dependencies: ["CellScreen", "TerminalHost"], path: "Tests/TerminalProbe",
      swiftSettings: strict),
    // A program from outside: what is of the package alone is closed to it.
    .executableTarget(
      name: "extents", dependencies: ["QatlasKit"], path: "Tests/Example", packageAccess: false,
      swiftSettings: [.swiftLanguageMode(.v6)]),

    // Tests of the libraries alone.
    .testTarget(
      name: "QcowFormatTests", dependencies: ["QcowFormat", "TestSupport"], swiftSettings: testSettings),
    .testTarget(
      name: "StorageTests", dependencies: ["CSys", "Storage", "TestSupport"], swiftSettings: testSettings),
    .testTarget(
      name: "QcowTests", dependencies: ["Storage", "QcowFormat", "Qcow", "EngineSupport", "TestSupport"],
      swiftSettings: testSettings),
    .testTarget(
      name: "LiveTests",
      dependencies: ["CSys", "Storage", "Nbd", "QcowFormat", "Qcow", "Live", "EngineSupport", "TestSupport"],
      swiftSettings: testSettings),
    .testTarget(
      name: "CartographyTests",
      dependencies: ["Storage", "QcowFormat", "Qcow", "Cartography", "TestSupport", "EngineSupport"],
      swiftSettings: testSettings),
    .testTarget(
      name: "CourseTests",
      dependencies: ["Storage", "QcowFormat", "Qcow", "Course", "EngineSupport", "TestSupport"],
      swiftSettings: testSettings),
    .testTarget(
      name: "CellScreenTests", dependencies: ["CellScreen", "TestSupport"], exclude: ["Golden"],
      swiftSettings: testSettings),
    .testTarget(
      name: "TerminalHostTests",
      dependencies: ["CellScreen", "TerminalHost", "TestSupport", "terminal-probe"],
      swiftSettings: testSettings),
    .testTarget(
      name: "FuzzTests", dependencies: ["FuzzTargets", "TestSupport"], exclude: ["Corpus"],
      swiftSettings: testSettings),
    .testTarget(
      name: "ScreenTests",
      dependencies: [
        "Storage", "QcowFormat", "Qcow", "Cartography", "CellScreen", "Course", "Explorer", "ExplorerSupport",
        "TestSupport",
      ],
      exclude: ["Golden"], swiftSettings: testSettings),
    .testTarget(
      name: "ScriptTests",
      dependencies: [
        "Storage", "QcowFormat", "Qcow", "Live", "Cartography", "ToolText", "Course", "CellScreen",
        "Explorer",
        "ExplorerSupport",
        "TestSupport",
      ],
      swiftSettings: testSettings),
  ] + (Context.environment["QATLAS_TESTS"] == "fast" ? [] : programTests)
)
