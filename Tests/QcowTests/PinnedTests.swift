// A pinned image: whatever the guest does, every mapped cluster stays at guest offset + shift. The same
// requests under the default policy show that they would have moved.
//
// QATLAS_PINNED_SESSIONS changes how many sessions run, QATLAS_SEED the seed of the first.

import EngineSupport
import Foundation
import Qcow
import QcowFormat
import Storage
import TestSupport
import Testing

@Suite("Pinned images", .tags(.campaign))
struct PinnedTests {
  /// An image with the layout, and with its requests, of one seed.
  private struct Session {
    var create: Image.CreateOptions
    var backing: [UInt8]?
    var requests: [GuestRequest] = []
    /// After how many requests another process goes on.
    var cuts: Set<Int> = []
    var discards = DiscardGranularity.cluster

    init(seed: UInt64) {
      var random = SplitMix64(seed: seed)
      create = randomOptions(&random)
      create.version = 3
      create.preallocation = .off
      create.contiguous = Bool.random(using: &random)
      create.extendedL2 = create.clusterSize >= 16384 && Bool.random(using: &random)
      if create.extendedL2 || !create.contiguous, Bool.random(using: &random) {
        let byte = UInt8.random(in: 1...255, using: &random)
        backing = [UInt8](repeating: byte, count: Int((create.size + 511) & ~511))
        create.backingFile = "base"
        create.backingFormat = "raw"
      }
      if create.contiguous { create.preallocation = Bool.random(using: &random) ? .metadata : .falloc }
      if Bool.random(using: &random) { create.reserve = create.size * 3 }
      create.pinned = true
      if Bool.random(using: &random) { discards = .subcluster }
      for index in 0..<Int.random(in: 5...60, using: &random) {
        requests.append(randomRequest(create, &random))
        if Int.random(in: 0..<12, using: &random) == 0 { cuts.insert(index) }
      }
    }

    /// Runs all requests; `look` is called after each with the image and the twin of its disk.
    func run(
      _ storage: any Storage, _ policy: MappingPolicy?, _ look: (Image, Twin) throws -> Void
    ) throws {
      var options = Image.Options()
      options.writable = true
      options.cache = .writeback
      options.policies.mapping = policy
      options.policies.discardGranularity = discards
      if let backing { options.backing = RawLayer(MemoryStorage(bytes: backing)) }
      var image = try Image(storage, options: options)
      var twin = Twin(
        bytes: backing ?? [UInt8](repeating: 0, count: Int((create.size + 511) & ~511)),
        discardUnit: Int(discards == .cluster ? create.clusterSize : image.geometry.subclusterSize))
      for (index, request) in requests.enumerated() {
        try image.perform(request)
        twin.apply(request)
        try look(image, twin)
        guard cuts.contains(index) else { continue }
        try image.close()
        image = try Image(storage, options: options)
      }
      try image.close()
    }
  }

  private func disk(_ image: Image) throws -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: Int(image.geometry.virtualSize))
    try bytes.withUnsafeMutableBytes { try image.read(at: GuestOffset(0), into: $0) }
    return bytes
  }

  @Test("random sessions never move a cluster, and the same sessions do without the pin")
  func sessions() throws {
    let count = try environmentNumber("QATLAS_PINNED_SESSIONS", default: 50)
    let first = try environmentNumber("QATLAS_SEED", default: 1)
    var requests = 0
    var moved = 0
    for seed in first..<(first + count) {
      let session = Session(seed: seed)
      let storage = MemoryStorage()
      try Image.create(on: storage, session.create)
      let plain = MemoryStorage(bytes: try storage.bytes(at: 0, count: Int(storage.length)))
      let shift = try #require(try Image(storage).pin?.shift)
      var last: [UInt8] = []
      try session.run(storage, nil) { image, twin in
        requests += 1
        let report = try image.places(shift: ByteCount(shift))
        guard image.policy == .pinned, report.moved == 0, report.taken == 0 else {
          throw TestFailure("seed \(seed), after request \(requests): \(report)")
        }
        last = twin.bytes
      }
      let image = try Image(storage, options: options(session))
      #expect(sameBytes(try disk(image), last), "seed \(seed)")
      #expect(image.pinState == .kept(try #require(image.pin)), "seed \(seed)")
      #expect(try findings(image) == [], "seed \(seed)")
      // For contrast, and without a word of the pin's keeper.
      var contrast: [UInt8] = []
      try session.run(plain, .qemu) {
        contrast = $1.bytes; _ = $0
      }
      let other = try Image(plain, options: options(session))
      #expect(sameBytes(try disk(other), contrast), "seed \(seed)")
      #expect(other.pinState != .none)
      if try other.places(shift: ByteCount(shift)).moved > 0 { moved += 1 }
    }
    print(
      "pinned: \(count) sessions from seed \(first), \(requests) requests, no cluster away from its place; "
        + "default: clusters moved in \(moved) of the same sessions")
    #expect(moved > 0)
  }

  private func options(_ session: Session) -> Image.Options {
    var options = Image.Options()
    if let backing = session.backing { options.backing = RawLayer(MemoryStorage(bytes: backing)) }
    return options
  }

  // MARK: What is kept, and what cannot be

  private func pinned(_ size: UInt64 = 1 << 20, reserve: UInt64? = nil) throws -> MemoryStorage {
    var create = Image.CreateOptions(size: size)
    create.contiguous = true
    create.preallocation = .metadata
    create.pinned = true
    create.reserve = reserve
    let storage = MemoryStorage()
    try Image.create(on: storage, create)
    return storage
  }

  private func open(_ storage: any Storage, _ policy: MappingPolicy? = nil) throws -> Image {
    var options = Image.Options()
    options.writable = true
    options.policies.mapping = policy
    return try Image(storage, options: options)
  }

  @Test("a writer that does not honour the pin clears its bit, and the next look says what moved")
  func stray() throws {
    let storage = try pinned()
    let stray = try open(storage, .qemu)
    #expect(stray.pinState == .kept(try #require(stray.pin)), "opening alone changes nothing")
    // The case of the mail: two clusters change places.
    try stray.perform(.discard(offset: 0, count: 131072))
    try stray.perform(.write(offset: 65536, count: 65536, byte: 2))
    try stray.perform(.write(offset: 0, count: 65536, byte: 1))
    try stray.close()
    let image = try open(storage)
    let pin = try #require(image.pin)
    #expect(image.pinState == .unverified(pin))
    let report = try image.setPin()
    #expect(
      report.runs == [
        PlacesReport.Run(guest: GuestOffset(0), host: HostOffset(pin.shift + 65536), clusters: 1),
        PlacesReport.Run(guest: GuestOffset(65536), host: HostOffset(pin.shift), clusters: 1),
      ])
    #expect(report.inPlace == 14)
    #expect(image.pinState == .unverified(pin), "nobody vouches for clusters that are elsewhere")
    // What is unmapped goes home when it is written again.
    let again = try open(storage, .qemu)
    try again.perform(.discard(offset: 0, count: 131072))
    try again.close()
    let home = try open(storage)
    try home.perform(.write(offset: 65536, count: 65536, byte: 4))
    try home.perform(.write(offset: 0, count: 65536, byte: 3))
    #expect(try home.setPin().moved == 0)
    #expect(home.pinState == .kept(pin))
  }

  @Test("tables and copies of shared clusters never take the place of a guest cluster")
  func others() throws {
    var create = Image.CreateOptions(size: 256 << 10)
    create.clusterSize = 512
    create.refcountBits = 64
    create.pinned = true
    let storage = MemoryStorage()
    try Image.create(on: storage, create)
    let shift = try #require(try Image(storage).pin?.shift)
    do {
      let image = try open(storage)
      try image.perform(.write(offset: 100 << 10, count: 512, byte: 1))
      try image.perform(.write(offset: 0, count: 8192, byte: 2))
      try image.createSnapshot(name: "s", seconds: 0, nanoseconds: 0)
      try image.perform(.write(offset: 0, count: 4096, byte: 3))
      try [UInt8](repeating: 9, count: 512).withUnsafeBytes {
        try image.writeCompressed($0, at: GuestOffset(200 << 10))
      }
      try image.close()
    }
    let image = try open(storage)
    let report = try image.places(shift: ByteCount(shift))
    #expect(report.moved == 8, "clusters of the snapshot keep their places, the copies are elsewhere")
    let places = shift..<(shift + create.size)
    #expect(report.runs.allSatisfy { !places.contains($0.host.value) })
    #expect(report.compressed == 1)
    #expect(report.taken == 0)
    // Everything else can still have its place; one more cluster is shared.
    try image.perform(.write(offset: 8192, count: 100 << 10, byte: 4))
    #expect(try image.places(shift: ByteCount(shift)).moved == 9)
    // Without the snapshot a rewrite after a discard of the default policy would go home.
    try image.deleteSnapshot(name: "s")
    #expect(try findings(image) == [])
  }

  @Test("growing keeps the shift, or says why it cannot")
  func growing() throws {
    for preallocation in Image.CreateOptions.Preallocation.allCases {
      let storage = try pinned(1 << 20, reserve: 2 << 30)
      let image = try open(storage)
      let shift = try #require(image.pin?.shift)
      try image.resize(to: ByteCount(3 << 20), preallocation: preallocation)
      try image.perform(.write(offset: 2 << 20, count: 65536, byte: 5))
      try image.perform(.write(offset: (3 << 20) - 65536, count: 65536, byte: 5))
      let report = try image.places(shift: ByteCount(shift))
      #expect(report.moved == 0 && report.taken == 0)
      #expect(report.inPlace == (preallocation == .off ? 18 : 48))
      try image.close()
      #expect(try findings(open(storage)) == [])
      #expect(storage.length <= shift + 3 << 20)
    }
    let storage = try pinned()
    let image = try open(storage)
    try image.createSnapshot(name: "s", seconds: 0, nanoseconds: 0)
    try image.perform(.write(offset: 0, count: 65536, byte: 5))
    #expect {
      try image.resize(to: ByteCount(2 << 20))
    } throws: { error in
      "\(error)".contains("the new area cannot keep the shift")
    }
  }

  @Test("images that cannot be pinned say why")
  func refusals() throws {
    let storage = MemoryStorage()
    try Image.create(on: storage, Image.CreateOptions(size: 1 << 20))
    let image = try open(storage)
    try image.perform(.write(offset: 65536, count: 65536, byte: 2))
    try image.perform(.write(offset: 0, count: 65536, byte: 1))
    for attempt in [{ _ = try image.setPin() }, { try image.choosePolicy(.pinned) }] {
      #expect {
        try attempt()
      } throws: {
        "\($0)".contains("1 of 2 mapped clusters have the shift")
      }
    }
    var old = Image.CreateOptions(size: 1 << 20)
    old.version = 2
    let second = MemoryStorage()
    try Image.create(on: second, old)
    #expect(throws: ImageError.self) { try open(second).setPin() }
    #expect(throws: ImageError.self) { try open(second, .keepMapping) }
    func refused(_ change: (inout Image.CreateOptions) -> Void, _ word: String) {
      var create = Image.CreateOptions(size: 1 << 20)
      change(&create)
      #expect {
        try Image.create(on: MemoryStorage(), create)
      } throws: {
        "\($0)".contains(word)
      }
    }
    refused({ $0.contiguous = true }, "preallocation")
    refused({ $0.reserve = 2 << 20 }, "reserve needs")
    refused(
      {
        $0.reserve = 1000; $0.pinned = true
      }, "must not be below")
    refused(
      {
        $0.pinned = true; $0.version = 2
      }, "compatibility level")
    refused(
      {
        $0.pinned = true; $0.preallocation = .metadata
      }, "contiguous=on")
    refused(
      {
        $0.contiguous = true; $0.preallocation = .metadata; $0.backingFile = "b"; $0.backingFormat = "raw"
      }, "mapped and still show")
  }

  @Test("a record of another version is kept and ignored")
  func otherVersion() throws {
    let storage = try pinned()
    var header = try storage.bytes(at: 0, count: 4096)
    let type: [UInt8] = [0x71, 0x70, 0x69, 0x6e]
    let at = try #require((0..<4000).first { Array(header[$0..<$0 + 4]) == type })
    header[at + 11] = 9
    try storage.write(header, at: 0)
    let image = try open(storage)
    #expect(image.pinState == .none && image.policy == .qemu)
    try image.perform(.write(offset: 0, count: 512, byte: 1))
    try image.close()
    let after = try storage.bytes(at: 0, count: 4096)
    #expect(after.indices.contains { $0 + 12 < after.count && Array(after[$0..<$0 + 4]) == type })
    #expect(BigEndian.u64(after, 88) == 0, "a bit without its record means nothing")
  }
}
