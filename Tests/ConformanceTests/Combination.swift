// Random sessions over everything that an image can be: version, cluster size, refcount width, extended
// L2, preallocation, a backing file, an external data file, snapshots, resizing, and every option of a
// session that changes the bytes. Everything follows from one seed.

import EngineSupport
import Foundation
import Qcow
import TestSupport

/// An image and the steps it goes through, each a process of its own.
struct Combination {
  /// A step.
  enum Step {
    case session(options: String, cache: String, [GuestRequest])
    case resize(UInt64, preallocation: String, shrink: Bool)
    case createSnapshot(String)
    case applySnapshot(String)
    case deleteSnapshot(String)
  }

  /// The layer below.
  struct Backing {
    var format: String
    var size: UInt64
  }

  let seed: UInt64
  private(set) var create: Image.CreateOptions
  private(set) var backing: Backing?
  /// nil, plain or raw.
  private(set) var dataFile: String?
  private(set) var steps: [Step] = []

  init(seed: UInt64) {
    self.seed = seed
    var random = SplitMix64(seed: seed &* 2_862_933_555_777_941_757)
    let bits = [9, 9, 10, 11, 12, 13, 14, 14, 15, 16, 16, 17][Int(random.below(12))]
    let clusterSize: UInt64 = 1 << bits
    func size(_ random: inout SplitMix64) -> UInt64 {
      let largest = min(2048 * clusterSize, max(2 << 20, 12 * clusterSize))
      var size = (1 + random.below(largest / clusterSize)) * clusterSize
      if random.below(3) == 0 { size -= random.below(clusterSize / 512) * 512 }
      return size
    }
    create = Image.CreateOptions(size: size(&random))
    create.clusterSize = clusterSize
    create.version = random.below(6) == 0 ? 2 : 3
    if create.version == 3 {
      create.refcountBits = 1 << Int(random.below(7))
      create.extendedL2 = bits >= 14 && random.below(2) == 0
      create.lazyRefcounts = random.below(8) == 0
    }
    switch random.below(5) {
    case 0, 1: backing = Backing(format: random.below(2) == 0 ? "raw" : "qcow2", size: size(&random))
    case 2 where create.version == 3: dataFile = random.below(2) == 0 ? "plain" : "raw"
    default: break
    }
    if random.below(3) == 0, backing == nil || create.extendedL2 {
      create.preallocation = [.metadata, .falloc, .full][Int(random.below(3))]
    }
    var current = create.size
    var snapshots: [(name: String, size: UInt64)] = []
    let canSnapshot = dataFile == nil && create.refcountBits > 1
    for _ in 0..<(2 + random.below(4)) {
      switch random.below(8) {
      case 0 where canSnapshot && snapshots.count < 3:
        snapshots.append(("s\(random.below(1000))", current))
        steps.append(.createSnapshot(snapshots[snapshots.count - 1].name))
      case 1 where !snapshots.isEmpty && create.version == 3:
        let chosen = snapshots[Int(random.below(UInt64(snapshots.count)))]
        // The first of that name is the one that is meant.
        current = snapshots.first { $0.name == chosen.name }?.size ?? current
        steps.append(.applySnapshot(chosen.name))
      case 2 where !snapshots.isEmpty:
        let chosen = snapshots[Int(random.below(UInt64(snapshots.count)))].name
        if let index = snapshots.firstIndex(where: { $0.name == chosen }) { snapshots.remove(at: index) }
        steps.append(.deleteSnapshot(chosen))
      case 3 where create.version == 3 || snapshots.isEmpty:
        var new = size(&random)
        // Version 2 has no way to hide a longer layer below, and refuses to grow above it.
        if create.version == 2, let backing, backing.size > current { new = min(new, current) }
        let grows = new > current
        // Preallocation with a layer below is only for extended L2 entries, and not in all versions.
        let mode =
          grows && backing == nil ? ["off", "metadata", "falloc", "full"][Int(random.below(4))] : "off"
        steps.append(.resize(new, preallocation: mode, shrink: new < current))
        current = new
      default: steps.append(Self.session(&random, create, current))
      }
    }
  }

  private static func session(
    _ random: inout SplitMix64, _ create: Image.CreateOptions, _ size: UInt64
  ) -> Step {
    let discards = random.below(4) > 0
    var options = "discard=\(discards ? "unmap" : "ignore")"
    if random.below(3) == 0 { options += ",pass-discard-request=off" }
    if random.below(3) == 0 { options += ",pass-discard-other=on" }
    if random.below(4) == 0 { options += ",pass-discard-snapshot=off" }
    if create.version == 3, random.below(6) == 0 {
      options += ",lazy-refcounts=\(random.below(2) == 0 ? "on" : "off")"
    }
    if random.below(5) == 0 {
      options += ",detect-zeroes=\(discards && random.below(2) == 0 ? "unmap" : "on")"
    }
    let (cluster, part) = (create.clusterSize, create.extendedL2 ? create.clusterSize / 32 : 512)
    var mix = RequestMix(
      units: [cluster, cluster, part, 512, 1], longest: [6 * cluster],
      kinds: [
        .write, .write, .write, .write, .writeZeroes, .zero, .discard, .discard,
        // Version 7.2 unmaps even where discards are ignored, which version 10 no longer does.
        discards ? .zeroUnmap : .zero,
      ])
    mix.oneToTheEndOf = 12
    mix.longestWrite = 1 << 19
    let requests = (0..<(1 + random.below(16))).map { _ in random.request(mix, on: size) }
    return .session(options: options, cache: random.below(2) == 0 ? "writeback" : "writethrough", requests)
  }

  /// `-o` and its value for both tools.
  var createOptions: [String] {
    var options = ["cluster_size=\(create.clusterSize)", "compat=\(create.version == 2 ? "0.10" : "1.1")"]
    if create.refcountBits != 16 { options.append("refcount_bits=\(create.refcountBits)") }
    if create.extendedL2 { options.append("extended_l2=on") }
    if create.lazyRefcounts { options.append("lazy_refcounts=on") }
    if create.preallocation != .off { options.append("preallocation=\(create.preallocation.rawValue)") }
    if dataFile != nil { options.append("data_file=d.raw") }
    if dataFile == "raw" { options.append("data_file_raw=on") }
    if let backing { options += ["backing_file=base", "backing_fmt=\(backing.format)"] }
    return ["-o", options.joined(separator: ",")]
  }
}

extension Combination.Step: CustomStringConvertible {
  var description: String {
    switch self {
    case .session(let options, let cache, let requests):
      "qemu-io -t \(cache) --image-opts driver=qcow2,file.filename=i.qcow2,\(options) "
        + requests.map { "-c '\($0.quietIoCommand)'" }.joined(separator: " ")
    case .resize(let size, let preallocation, let shrink):
      "qemu-img resize --preallocation=\(preallocation)\(shrink ? " --shrink" : "") i.qcow2 \(size)"
    case .createSnapshot(let name): "qemu-img snapshot -c \(name) i.qcow2"
    case .applySnapshot(let name): "qemu-img snapshot -a \(name) i.qcow2"
    case .deleteSnapshot(let name): "qemu-img snapshot -d \(name) i.qcow2"
    }
  }
}
