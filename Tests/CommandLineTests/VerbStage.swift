// Two folders with one image of some features each, made by the genuine tool, in which a verb is carried out by
// the genuine tool and by this program under its name.

import Foundation
import QcowFormat
import Storage
import TestSupport
import Testing

/// What an image can have that a verb may meet.
enum ImageFeature: String, CaseIterable {
  case snapshots, bitmaps, inconsistent, compression, subclusters, encryption, dataFile, backing, version2
  case dirty, smallClusters, otherWidth, lazy, stateful
  /// A cluster that nobody owns. Asked for by name alone, it is in no pair.
  case leaking

  /// Pairs that the format or the genuine tool does not have.
  private static let exclusive: [ImageFeature: [ImageFeature]] = [
    .version2: [.bitmaps, .inconsistent, .subclusters, .dataFile, .dirty, .otherWidth, .lazy],
    .dataFile: [.snapshots, .compression, .encryption, .stateful],
    .encryption: [.compression],
  ]

  static func exist(_ features: Set<ImageFeature>) -> Bool {
    exclusive.allSatisfy { key, others in
      !features.contains(key) || features.isDisjoint(with: others)
    }
  }

  /// Every pair of features that one image can have.
  static let pairs: [[ImageFeature]] = allCases.indices.flatMap { first in
    allCases[(first + 1)...].filter { $0 != .leaking }.map { [allCases[first], $0] }.filter { exist(Set($0)) }
  }
}

/// Two copies of one image named "t", and what it names.
struct VerbStage {
  let root: TemporaryDirectory
  let features: Set<ImageFeature>
  let clusterSize: Int
  var words: SeededWords

  var genuine: String { root.path("genuine") }
  var ours: String { root.path("ours") }

  /// The words that name the image, with its passphrase where it has one.
  var target: [String] {
    features.contains(.encryption)
      ? GenuineEncryption.object + ["--image-opts", GenuineEncryption.options("t")] : ["t"]
  }

  init(_ asked: [ImageFeature], seed: UInt64) throws {
    var features = Set(asked)
    if features.contains(.inconsistent) { features.insert(.bitmaps) }
    if features.contains(.stateful) { features.insert(.snapshots) }
    self.features = features
    words = SeededWords(random: SplitMix64(seed: seed))
    clusterSize = features.contains(.smallClusters) ? features.contains(.subclusters) ? 16384 : 4096 : 65536
    root = try TemporaryDirectory(inMemory: true)
    for tool in ["qemu-img", "qemu-io"] {
      try FileManager.default.createSymbolicLink(
        atPath: root.path(tool), withDestinationPath: try builtProduct("qatlas"))
    }
    try FileManager.default.createDirectory(atPath: genuine, withIntermediateDirectories: true)
    try make()
    try FileManager.default.copyItem(atPath: genuine, toPath: ours)
  }

  @discardableResult
  private func must(_ tool: String, _ words: [String]) throws -> ProcessResult {
    let result = try run(tool, words, directory: genuine, timeout: 60)
    guard result.status == 0 else {
      throw TestFailure("\(tool) \(words): \(result.stderr) (\(features.map(\.rawValue).sorted()))")
    }
    return result
  }

  private mutating func make() throws {
    var options = ["cluster_size=\(clusterSize)"]
    if features.contains(.subclusters) { options.append("extended_l2=on") }
    if features.contains(.version2) { options.append("compat=0.10") }
    if features.contains(.otherWidth) { options.append("refcount_bits=\(words.one(["2", "8", "32", "64"]))") }
    if features.contains(.lazy) { options.append("lazy_refcounts=on") }
    if features.contains(.dataFile) { options.append("data_file=t.data") }
    if features.contains(.dataFile), !features.contains(.backing), words.isOne(in: 2) {
      options.append("data_file_raw=on")
    }
    if features.contains(.encryption) {
      try GenuineEncryption.copy(
        genuine + "/t", (options + ["encrypt.format=luks"]).joined(separator: ","), size: "2M")
      if features.contains(.backing) {
        try must("qemu-img", ["create", "-q", "-f", "qcow2", "base", "1500k"])
        try must(
          "qemu-img",
          ["rebase", "-u", "-b", "base", "-F", "qcow2"] + target)
      }
    } else {
      var line = ["create", "-q", "-f", "qcow2", "-o", options.joined(separator: ",")]
      if features.contains(.backing) {
        try must("qemu-img", ["create", "-q", "-f", "qcow2", "-o", "cluster_size=8192", "base", "1500k"])
        try must("qemu-io", ["-f", "qcow2", "-c", "write -P 9 0 1M", "base"])
        line += ["-b", "base", "-F", "qcow2"]
      }
      try must("qemu-img", line + ["t", "2M"])
    }
    if features.contains(.bitmaps) {
      for words in [["b0"], ["-g", "4096", "b1"], ["--disable", "off"]] {
        try must("qemu-img", ["bitmap", "--add"] + words.dropLast() + target + words.suffix(1))
      }
    }
    try io(requests(4))
    if features.contains(.compression) {
      try io([3, 8, 9, 20].map { "write -c -P \($0) \($0 * clusterSize) \(clusterSize)" })
    }
    if features.contains(.snapshots) {
      try must("qemu-img", ["snapshot", "-c", "one"] + target)
      try io(requests(3))
      if features.contains(.stateful) { try must("qemu-io", ioTarget(["write -b -P 5 0 8k"])) }
      if words.isOne(in: 2) {
        try must("qemu-img", ["snapshot", "-c", "two"] + target)
        try io(requests(2))
      }
    }
    if features.contains(.leaking) { try Self.leak(genuine + "/t") }
    try poke(genuine + "/t") { bytes in
      if features.contains(.dirty) { bytes[79] |= 1 }
      guard features.contains(.inconsistent) else { return }
      for at in stride(from: 104, to: 1024, by: 8)
      where bytes[at..<at + 4].elementsEqual([0x23, 0x85, 0x28, 0x75]) {
        let directory = bytes[at + 24..<at + 32].reduce(0) { $0 << 8 | Int($1) }
        bytes[directory + 15] |= 1
      }
    }
  }

  private func poke(_ path: String, _ change: (inout [UInt8]) -> Void) throws {
    var bytes = [UInt8](try Data(contentsOf: URL(fileURLWithPath: path)))
    change(&bytes)
    try Data(bytes).write(to: URL(fileURLWithPath: path))
  }

  /// Makes the file one cluster longer and counts it, if its counts are wide enough and have a place for it.
  static func leak(_ path: String) throws {
    let file = try FileHandle(forUpdating: URL(fileURLWithPath: path))
    defer { try? file.close() }
    let bytes = [UInt8](try file.readToEnd() ?? Data())
    let cluster = UInt64(1) << UInt64(BigEndian.u32(bytes, 20))
    let order = BigEndian.u32(bytes, 4) >= 3 ? BigEndian.u32(bytes, 96) : 4
    let index = (UInt64(bytes.count) + cluster - 1) / cluster
    guard order >= 3, index < (cluster * 8) >> UInt64(order) else { return }
    let block = BigEndian.u64(bytes, Int(BigEndian.u64(bytes, 48)))
    let width = UInt64(1) << UInt64(order - 3)
    try file.truncate(atOffset: (index + 1) * cluster)
    try file.seek(toOffset: block + (index + 1) * width - 1)
    try file.write(contentsOf: Data([1]))
  }

  /// Random requests on the disk.
  mutating func requests(_ count: Int) -> [String] {
    (0..<count).map { _ in
      let length = UInt64(words.one(["512", "4096", "65536", "204800"])) ?? 512
      var offset = min(words.random.below(4096) * 512, 2 << 20 - length)
      if words.isOne(in: 2) { offset = offset / 65536 * 65536 }
      let verb = words.one(["write -P \(1 + words.random.below(250))", "write -z", "write -z -u", "discard"])
      return "\(verb) \(offset) \(length)"
    }
  }

  private func ioTarget(_ commands: [String]) -> [String] {
    commands.flatMap { ["-c", $0] } + (features.contains(.encryption) ? target : ["-f", "qcow2", "t"])
  }

  private func io(_ commands: [String]) throws {
    _ = try run("qemu-io", ioTarget(commands), directory: genuine, timeout: 60)
  }

  /// Lets the genuine tool do the same requests on both.
  func requestBoth(_ commands: [String]) throws {
    for folder in [genuine, ours] {
      _ = try run("qemu-io", ioTarget(commands), directory: folder, timeout: 60)
    }
  }

  /// Lets both tools do a line; nil if they said and left the same.
  func difference(_ line: [String]) throws -> String? {
    let theirs = try run("qemu-img", line, directory: genuine, timeout: 60)
    let ours = try run(root.path("qemu-img"), line, directory: ours, timeout: 60)
    func outcome(_ result: ProcessResult, _ folder: String) throws -> ToolOutcome {
      ToolOutcome(
        output: result.stdout, errors: Self.neutral(result.stderr), status: result.status,
        files: try ToolPair.contents(folder))
    }
    let (a, b) = (try outcome(theirs, genuine), try outcome(ours, self.ours))
    return a == b ? nil : "\(features.map(\.rawValue).sorted()) \(line):\n" + a.difference(b)
  }

  /// Numbers of nodes are random; this program names the file.
  static func neutral(_ text: String) -> String {
    text.replacingOccurrences(
      of: "(persistent in|bitmaps to) ('[a-z][0-9]*'|r|'?#block[0-9]+'?)", with: "$1 NODE",
      options: .regularExpression)
  }
}
