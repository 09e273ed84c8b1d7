// Images of many kinds for the comparison with the genuine tools, each of one seed.

import EngineSupport
import TestSupport
import Testing

/// An image made by the genuine tools: options of its creation, then seeded random requests.
struct Recipe: CustomTestStringConvertible {
  var options: String
  var size: String
  var requests = 200
  /// Requests start at multiples of this, most of the time.
  var grain: UInt64 = 65536
  var seed: UInt64

  var testDescription: String { "\(options.isEmpty ? "default" : options), \(size), seed \(seed)" }

  func make(_ judge: Judge, _ name: String) throws {
    let list = options.isEmpty ? [] : ["-o", options]
    try judge.must("qemu-img", ["create", "-q", "-f", "qcow2"] + list + [name, size])
    // The file below the image has a size as well, and comes first.
    let info = try judge.must("qemu-img", ["info", "--output=json", name])
    let bytes = info.matches(of: /"virtual-size": ([0-9]+)/).last.flatMap { UInt64($0.1) } ?? 0
    var random = SplitMix64(seed: seed)
    let commands = (0..<requests).map { _ in Self.request(&random, bytes, grain) }
    try judge.must(
      "qemu-io", ["-f", "qcow2", "-t", "writeback", name], stdin: commands.joined(separator: "\n") + "\n")
  }

  /// One random request that lies on the disk.
  static func request(_ random: inout SplitMix64, _ size: UInt64, _ grain: UInt64) -> String {
    let mix = RequestMix(
      units: [grain, grain, grain, 1], longest: [6 * grain],
      kinds: [.write, .write, .write, .write, .write, .write, .zero, .zeroUnmap, .discard, .discard])
    return random.request(mix, on: size).ioCommand
  }

  static let all: [Recipe] = [
    Recipe(options: "", size: "64M", seed: 1),
    Recipe(options: "", size: "1000", requests: 5, grain: 512, seed: 2),
    Recipe(options: "compat=0.10", size: "64M", seed: 3),
    Recipe(options: "cluster_size=512", size: "1M", grain: 512, seed: 4),
    Recipe(options: "cluster_size=512,refcount_bits=1", size: "3M", grain: 1024, seed: 5),
    Recipe(options: "cluster_size=2M", size: "1G", requests: 60, grain: 1 << 20, seed: 6),
    Recipe(options: "extended_l2=on", size: "64M", grain: 2048, seed: 7),
    Recipe(options: "extended_l2=on,cluster_size=16k", size: "16M", grain: 512, seed: 8),
    Recipe(options: "refcount_bits=1", size: "64M", seed: 9),
    Recipe(options: "refcount_bits=64,cluster_size=4k", size: "16M", grain: 4096, seed: 10),
    Recipe(options: "preallocation=metadata", size: "64M", seed: 11),
    Recipe(options: "preallocation=metadata,extended_l2=on", size: "64M", grain: 4096, seed: 12),
    Recipe(
      options: "preallocation=metadata,cluster_size=512", size: "1M", requests: 40, grain: 4096, seed: 13),
    Recipe(options: "preallocation=metadata", size: "1T", requests: 3, seed: 14),
    Recipe(options: "lazy_refcounts=on", size: "100000001", seed: 15),
    Recipe(options: "", size: "0", requests: 0, seed: 16),
    Recipe(options: "cluster_size=64k", size: "1G", requests: 2500, grain: 65536, seed: 17),
  ]
}
