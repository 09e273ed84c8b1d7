// Sources for the verbs that copy: images that have two features of the format at a time, made by the genuine tools.

import Foundation
import TestSupport

/// Something that an image may have.
enum CopyFeature: String, CaseIterable {
  case snapshots, bitmaps, zlib, zstd, subclusters, encryption, externalData, smallBacking, otherClusters
  case version2, dirty

  /// Features that no image has together.
  private static let apart: [Set<CopyFeature>] = [
    [.version2, .zstd], [.version2, .subclusters], [.version2, .externalData], [.version2, .bitmaps],
    [.version2, .dirty], [.encryption, .zlib], [.encryption, .zstd], [.zlib, .zstd],
    [.externalData, .zlib], [.externalData, .zstd], [.externalData, .snapshots],
    [.externalData, .encryption],
    [.otherClusters, .subclusters],
  ]

  /// All pairs that there can be.
  static let pairs: [[CopyFeature]] = allCases.indices.flatMap { first in
    allCases[(first + 1)...].compactMap { second in
      apart.contains([allCases[first], second]) ? nil : [allCases[first], second]
    }
  }
}

/// The source "s" with what it needs, its content as "s.raw", and two targets that are there already.
struct CopyImages {
  let features: [CopyFeature]
  let seed: UInt64

  /// How the genuine tools and this program are told to open the source.
  var source: [String] {
    guard features.contains(.encryption) else { return ["-f", "qcow2", "s"] }
    return ["--object", "secret,id=s0,data=pw", "--image-opts"]
      + ["driver=qcow2,encrypt.key-secret=s0,file.filename=s"]
  }

  private func has(_ feature: CopyFeature) -> Bool { features.contains(feature) }

  func make(_ folder: String) throws {
    var words = SeededWords(random: SplitMix64(seed: seed))
    func must(_ tool: String, _ line: [String]) throws {
      let result = try run(tool, line, stdin: [], directory: folder, timeout: 60)
      // A writer that is killed leaves the image dirty.
      guard result.status == 0 || result.signal == SIGABRT else {
        throw TestFailure("\(tool) \(line): \(result.stderr)")
      }
    }
    var options: [String] = []
    if has(.version2) { options.append("compat=0.10") }
    if has(.zstd) { options.append("compression_type=zstd") }
    if has(.subclusters) { options.append("extended_l2=on") }
    if has(.externalData) { options.append("data_file=s.data") }
    if has(.otherClusters) { options.append("cluster_size=\(words.one(["512", "4096", "2M"]))") }
    if has(.dirty) { options.append("lazy_refcounts=on") }
    let size = 3 << 20 + 512 * Int(words.random.below(100))
    if has(.smallBacking) || has(.otherClusters) {
      let isRaw = words.isOne(in: 2)
      let below = has(.smallBacking) ? 1_600_512 : 4 << 20
      try must("qemu-img", ["create", "-q", "-f", isRaw ? "raw" : "qcow2", "below", "\(below)"])
      try must(
        "qemu-io",
        ["-f", isRaw ? "raw" : "qcow2", "-c", "write -P 11 0 300k", "-c", "write -P 12 1M 400k", "below"])
      options.append("backing_file=below,backing_fmt=\(isRaw ? "raw" : "qcow2")")
    }
    if has(.encryption) {
      let list = options + ["encrypt.format=luks,encrypt.key-secret=s0,encrypt.iter-time=10"]
      let plain = [
        "-q", "-f", "qcow2", "--object", "secret,id=s0,data=pw", "-o", list.joined(separator: ","),
      ]
      try Self.again { try must("qemu-img", ["create"] + plain + ["s", "\(size)"]) }
    } else {
      let list = options.isEmpty ? [] : ["-o", options.joined(separator: ",")]
      try must("qemu-img", ["create", "-q", "-f", "qcow2"] + list + ["s", "\(size)"])
    }
    if has(.bitmaps) {
      try must("qemu-img", ["bitmap", "--add", "-g", "4096"] + source + ["fine"])
      try must("qemu-img", ["bitmap", "--add", "--disable"] + source + ["off"])
    }
    func session(_ commands: [String]) throws {
      let file = source.last ?? "s"
      try must("qemu-io", Array(source.dropLast()) + commands.flatMap { ["-c", $0] } + [file])
    }
    var first = ["write -P 1 0 200k", "write -P 2 1M 5k", "write -z 1200k 64k", "write -P 0 2M 100k"]
    if has(.zlib) || has(.zstd) {
      let cluster = has(.otherClusters) ? "2M" : "64k"
      first =
        ["write -c -P 1 0 \(cluster)"] + (cluster == "64k" ? ["write -c -P 3 128k 64k"] : [])
        + ["write -P 2 2200k 5k"]
    }
    try session(first)
    if has(.snapshots), !has(.encryption) { try must("qemu-img", ["snapshot", "-c", "one", "s"]) }
    var later: [String] = []
    for byte in 20..<26 {
      let offset = words.random.below(UInt64(size - 70000) / 512) * 512
      let length = (1 + words.random.below(130)) * 512
      later.append(
        words.one(["write -P \(byte)", "write -P \(byte)", "write -P 0", "write -z"]) + " \(offset) \(length)"
      )
    }
    if has(.dirty) { later.append("abort") }
    try session(later)
    try must("qemu-img", ["convert", "-O", "raw"] + source + ["s.raw"])
    for (name, bytes) in try Self.targets.get() {
      try bytes.write(to: URL(fileURLWithPath: folder + "/" + name))
    }
  }

  /// An image and a raw file without a gap, made once.
  private static let targets = Result {
    let folder = try TemporaryDirectory(inMemory: true)
    for line in [
      "qemu-img create -q -f qcow2 -o cluster_size=16k FOLDER/t 4M",
      "qemu-img create -q -f raw FOLDER/t.raw 4M",
      "qemu-io -f qcow2 -c write~-P~30~0~4M FOLDER/t", "qemu-io -f raw -c write~-P~31~0~4M FOLDER/t.raw",
    ] {
      let words = line.split(separator: " ").map {
        $0.replacingOccurrences(of: "FOLDER", with: folder.path).replacingOccurrences(of: "~", with: " ")
      }
      try succeed(words[0], Array(words.dropFirst()))
    }
    return try ToolPair.contents(folder.path)
  }

  /// The genuine tool fails to measure the time of hashing now and then.
  private static func again(_ body: () throws -> Void) throws {
    for _ in 0..<20 { if (try? body()) != nil { return } }
    try body()
  }

  /// Lines of the verbs, each the verb with its words; "SOURCE" stands for the source.
  func lines(_ count: Int) -> [[String]] {
    var words = SeededWords(random: SplitMix64(seed: seed &+ 1000))
    var lines: [String] = []
    if has(.bitmaps) { lines.append("convert --bitmaps -O qcow2 SOURCE x") }
    if has(.snapshots), !has(.encryption) { lines.append("convert -l one -O qcow2 SOURCE x") }
    lines += Self.converts.shuffled(using: &words.random).prefix(count)
    lines += Self.others.shuffled(using: &words.random).prefix(1)
    return lines.map { line in
      line.split(separator: " ").flatMap { $0 == "SOURCE" ? source : [String($0)] }
    }
  }

  private static let converts = [
    "convert -O qcow2 SOURCE x", "convert -O raw SOURCE x", "convert -p -O qcow2 SOURCE x",
    "convert -c -O qcow2 SOURCE x", "convert -c -O qcow2 -o compression_type=zstd SOURCE x",
    "convert -c -O qcow2 -o cluster_size=4k SOURCE x", "convert -S 0 -O qcow2 SOURCE x",
    "convert -S 0 -O raw SOURCE x", "convert -S 64k -O qcow2 SOURCE x",
    "convert -S 1536 -O qcow2 -o cluster_size=512 SOURCE x",
    "convert -O qcow2 -o extended_l2=on SOURCE x", "convert -O qcow2 -o compat=0.10 SOURCE x",
    "convert -O qcow2 -o preallocation=metadata SOURCE x",
    "convert -O qcow2 -o preallocation=falloc,cluster_size=16k SOURCE x",
    "convert -O qcow2 -o refcount_bits=1,cluster_size=1k SOURCE x",
    "convert -O qcow2 -o cluster_size=2M SOURCE x", "convert -O qcow2 -o data_file=x.data SOURCE x",
    "convert -O qcow2 -o data_file=x.data,data_file_raw=on SOURCE x", "convert -n -O qcow2 SOURCE t",
    "convert -n -O raw SOURCE t.raw", "convert -n --target-is-zero -O qcow2 SOURCE t",
    "convert -n -S 0 -O qcow2 SOURCE t", "convert -O qcow2 -B s.raw -F raw SOURCE x",
    "convert -O qcow2 -c -B t -F qcow2 SOURCE x", "convert -O qcow2 -S 0 -B t -F qcow2 SOURCE x",
    "convert -m 1 -r 100M -q -O qcow2 SOURCE x", "convert --salvage -O qcow2 SOURCE x",
    "convert -n -O qcow2 -o size=1 SOURCE t",
    "convert -O qcow2 -o lazy_refcounts=on SOURCE x", "convert -t writethrough -O qcow2 SOURCE x",
  ]

  private static let others = [
    "measure -O qcow2 SOURCE", "measure -O qcow2 --output=json SOURCE", "measure SOURCE",
    "measure -O qcow2 -o cluster_size=4k SOURCE", "measure -O qcow2 -o extended_l2=on SOURCE",
    "measure -O qcow2 -o preallocation=full,refcount_bits=64 SOURCE",
    "measure -O qcow2 -o compat=0.10,cluster_size=2M SOURCE", "measure -O qcow2 -o backing_file=b SOURCE",
    "dd -O qcow2 DD of=x", "dd -O raw bs=7k DD of=x", "dd -O qcow2 bs=1M count=2 DD of=x",
    "dd -O qcow2 bs=100k skip=3 DD of=x", "dd -O qcow2 bs=3000 count=500 skip=2 DD of=x",
    "dd skip=9999 DD of=x", "dd count=0 DD of=x",
  ].map { $0.replacingOccurrences(of: "DD", with: "if=s") }
}
