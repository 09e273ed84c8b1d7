// Random scripts for the comparison with the genuine tools: an image, several sessions, and a model
// of what the guest must read. Everything follows from one seed.

import EngineSupport
import Foundation
import Qcow
import TestSupport

/// An image and what is done to it.
struct RandomScript {
  let seed: UInt64
  private(set) var create: Image.CreateOptions
  private(set) var sessions: [[GuestRequest]] = []
  /// What the guest reads after all of it; says nothing about scripts with compressed writes.
  private(set) var disk: SegmentModel
  /// A third of the requests are compressed writes of one cluster each, which may be refused.
  let compresses: Bool

  init(seed: UInt64, compresses: Bool = false) {
    self.seed = seed
    self.compresses = compresses
    var random = SplitMix64(seed: seed)
    // Small clusters have most of the interesting tables; large ones are there for the arithmetic.
    let bits = [9, 9, 9, 10, 11, 12, 12, 13, 14, 14, 15, 16, 16, 16, 17, 18, 19, 20, 21][
      Int(random.below(19))]
    let clusterSize: UInt64 = 1 << bits
    let largest = min(4096 * clusterSize, max(4 << 20, 12 * clusterSize))
    let clusters = 1 + random.below(largest / clusterSize)
    var size = clusters * clusterSize
    if random.below(3) == 0 { size -= random.below(clusterSize / 512) * 512 }
    create = Image.CreateOptions(size: size)
    create.clusterSize = clusterSize
    create.version = random.below(6) == 0 ? 2 : 3
    if create.version == 3 {
      create.refcountBits = 1 << Int(random.below(7))
      create.extendedL2 = bits >= 14 && random.below(2) == 0
      create.lazyRefcounts = random.below(8) == 0
    }
    if random.below(4) == 0 { create.preallocation = .metadata }
    if compresses {
      // Widths that overflow soon come most often.
      if create.version == 3 { create.refcountBits = [1, 1, 2, 2, 4, 8, 16, 32, 64][Int(random.below(9))] }
      if random.below(4) > 0 { create.preallocation = .off }
    }
    disk = SegmentModel(size: size)
    var places = CompressedPlaces(create)
    // The bytes written are bounded, so that large clusters do not make slow tests.
    var budget: UInt64 = 3 << 20
    for _ in 0..<(1 + random.below(4)) {
      var requests: [GuestRequest] = []
      for _ in 0..<(1 + random.below(24)) {
        var request = Self.request(&random, create, &budget)
        if compresses, random.below(3) == 0, let compressed = places.request(&random) { request = compressed }
        request = places.tamed(request)
        places.follow(request)
        requests.append(request)
        disk.apply(request, create)
      }
      places.endSession()
      sessions.append(requests)
    }
  }

  /// Requests whose ends lie on clusters, subclusters, sectors or anywhere.
  static func mix(_ create: Image.CreateOptions, budget: UInt64) -> RequestMix {
    let (cluster, part) = (create.clusterSize, create.extendedL2 ? create.clusterSize / 32 : 512)
    var mix = RequestMix(
      units: [cluster, cluster, part, 512, 1], longest: [4 * cluster, 4 * cluster, 64 * cluster],
      kinds: [RequestMix.Kind](repeating: .write, count: 23)
        + [RequestMix.Kind](repeating: .discard, count: 8)
        + [RequestMix.Kind](repeating: .zero, count: 4)
        + [RequestMix.Kind](repeating: .zeroUnmap, count: 4) + [.flush])
    mix.oneToTheEndOf = 12
    mix.longestWrite = max(1, budget / 4)
    return mix
  }

  /// A request, whose bytes are taken from the budget if it writes any.
  static func request(
    _ random: inout SplitMix64, _ create: Image.CreateOptions, _ budget: inout UInt64
  ) -> GuestRequest {
    let request = random.request(mix(create, budget: budget), on: create.size)
    if case .write(_, let count, _) = request { budget -= min(budget, count) }
    return request
  }

  /// The image as `qemu-img create` arguments.
  var createArguments: [String] {
    var options = ["cluster_size=\(create.clusterSize)", "compat=\(create.version == 2 ? "0.10" : "1.1")"]
    if create.refcountBits != 16 { options.append("refcount_bits=\(create.refcountBits)") }
    if create.extendedL2 { options.append("extended_l2=on") }
    if create.lazyRefcounts { options.append("lazy_refcounts=on") }
    if create.preallocation != .off { options.append("preallocation=\(create.preallocation.rawValue)") }
    return ["create", "-q", "-f", "qcow2", "-o", options.joined(separator: ",")]
  }

  /// A session as arguments of `qemu-io`, which `qatlas io` understands too.
  static func ioArguments(_ requests: [GuestRequest]) -> [String] {
    requests.flatMap { ["-c", $0.quietIoCommand] }
  }

  /// The whole script as a shell would run it with the genuine tools.
  var description: String {
    let made = "qemu-img \(createArguments.joined(separator: " ")) t.qcow2 \(create.size)"
    let run = sessions.map { session in
      "qemu-io -f qcow2 t.qcow2 " + session.map { "-c '\($0.quietIoCommand)'" }.joined(separator: " ")
    }
    return ([made] + run).joined(separator: "\n")
  }
}

/// The disk as runs of one repeated byte.
struct SegmentModel {
  struct Segment: Equatable {
    var start: UInt64
    var end: UInt64
    var byte: UInt8
  }

  private(set) var segments: [Segment]

  init(size: UInt64) { segments = [Segment(start: 0, end: size, byte: 0)] }

  mutating func fill(_ start: UInt64, _ end: UInt64, _ byte: UInt8) {
    guard start < end else { return }
    var result: [Segment] = []
    func add(_ segment: Segment) {
      guard segment.start < segment.end else { return }
      if let last = result.last, last.byte == segment.byte, last.end == segment.start {
        result[result.count - 1].end = segment.end
      } else {
        result.append(segment)
      }
    }
    var isPlaced = false
    for segment in segments {
      add(Segment(start: segment.start, end: min(segment.end, start), byte: segment.byte))
      if !isPlaced && segment.end > start {
        add(Segment(start: start, end: end, byte: byte))
        isPlaced = true
      }
      add(Segment(start: max(segment.start, end), end: segment.end, byte: segment.byte))
    }
    segments = result
  }

  /// What a request does to the guest's bytes in an image without a backing file.
  mutating func apply(_ request: GuestRequest, _ create: Image.CreateOptions) {
    switch request {
    case .write(let offset, let count, let byte), .compress(let offset, let count, let byte):
      fill(offset, offset + count, byte)
    case .zero(let offset, let count, _): fill(offset, offset + count, 0)
    case .discard(let offset, let count):
      // Only whole clusters lose their data; the end of the disk counts as the end of its cluster.
      let size = create.clusterSize
      let first = (offset + size - 1) / size * size
      let end = offset + count == create.size ? create.size : (offset + count) / size * size
      fill(first, end, 0)
    case .flush, .compressMixed: break
    }
  }
}
