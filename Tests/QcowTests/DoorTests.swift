// Law 1: bytes and notes agree. Whatever changes in the tables of an image goes through one door, and is told
// there with what it was and what it is.
//
// QATLAS_DOOR_SESSIONS changes how many random sessions run, QATLAS_SEED the seed of the first.

import EngineSupport
import Qcow
import QcowFormat
import Storage
import TestSupport
import Testing

@Suite("The door to the tables", .tags(.fast)) struct DoorTests {
  private func options(_ random: inout SplitMix64) -> Image.Options {
    var options = Image.Options()
    options.writable = true
    options.cache = Bool.random(using: &random) ? .writeback : .writethrough
    options.discardNoUnref = Int.random(in: 0..<5, using: &random) == 0
    // Small caches write back while a request is under way.
    if Bool.random(using: &random) {
      options.l2CacheSize = 1024
      options.l2CacheEntrySize = 512
    }
    return options
  }

  /// One verb, drawn by lot; a refusal is an answer too.
  private func change(
    _ image: Image, _ create: Image.CreateOptions, _ random: inout SplitMix64
  ) throws -> String {
    let name = String(Int.random(in: 0..<3, using: &random))
    do {
      switch Int.random(in: 0..<16, using: &random) {
      case 0, 1:
        try image.createSnapshot(name: name, seconds: 1, nanoseconds: 2)
        return "snapshot \(name)"
      case 2:
        try image.applySnapshot(name)
        return "apply \(name)"
      case 3, 4:
        try image.deleteSnapshot(name: name)
        return "delete \(name)"
      case 5:
        let size = UInt64.random(in: 1...(3 * create.size / 512 + 8), using: &random) * 512
        let modes = Image.CreateOptions.Preallocation.allCases
        try image.resize(
          to: ByteCount(size),
          preallocation: size < image.geometry.virtualSize ? .off : modes[Int(size / 512) % modes.count])
        return "resize \(size)"
      case 6:
        _ = try image.setPin()
        return "pin"
      case 7:
        try image.removePin()
        return "unpin"
      case 8:
        try image.flush()
        return "flush"
      case 9, 10:
        let cluster = UInt64.random(in: 0..<max(1, image.geometry.clusterCount), using: &random)
        let data = [UInt8](repeating: 7, count: Int(create.clusterSize))
        try data.withUnsafeBytes {
          try image.writeCompressed($0, at: GuestOffset(cluster * create.clusterSize))
        }
        return "compressed \(cluster)"
      default:
        let request = randomRequest(create, &random)
        try image.perform(request)
        return request.description
      }
    } catch let error as ImageError where ![.corrupt, .overlap, .outOfService].contains(error.code) {
      return "refused: \(error)"
    }
  }

  @Test("random sessions with every verb")
  func sessions() throws {
    let count = try environmentNumber("QATLAS_DOOR_SESSIONS", default: 100)
    let first = try environmentNumber("QATLAS_SEED", default: 1)
    var writes = 0
    for seed in first..<(first + count) {
      var random = SplitMix64(seed: seed &* 31)
      var create = randomOptions(&random)
      create.lazyRefcounts = create.version == 3 && Int.random(in: 0..<4, using: &random) == 0
      let storage = AuditingStorage(MemoryStorage())
      try Image.create(on: storage, create)
      var story: [String] = []
      for _ in 0..<4 {
        var options = self.options(&random)
        if create.version == 2 { options.discardNoUnref = false }
        let image = try Image(storage, options: options)
        for _ in 0..<10 { story.append(try change(image, create, &random)) }
        // Without an end the next opening repairs what lagged behind.
        if !create.lazyRefcounts || Bool.random(using: &random) {
          try image.close()
          storage.finish()
          story.append("close")
        } else {
          storage.pullThePlug()
          story.append("crash")
        }
        guard storage.violations.isEmpty else { break }
      }
      #expect(storage.violations == [], "QATLAS_SEED=\(seed), \(create): \(story)")
      guard storage.violations.isEmpty else { return }
      writes += storage.checkedWrites
    }
    print("the door: \(count) sessions from seed \(first), \(writes) writes agree with their notes")
    #expect(writes > Int(count) * 20)
  }

  @Test("making an image, whatever its kind")
  func creation() throws {
    for kind in 0..<6 {
      var create = Image.CreateOptions(size: 3 << 20)
      create.clusterSize = 4096
      switch kind {
      case 1: create.preallocation = .metadata
      case 2: (create.preallocation, create.contiguous) = (.metadata, true)
      case 3: create.pinned = true
      case 4: (create.backingFile, create.backingFormat) = ("below", "raw")
      case 5:
        create.encryption = NewEncryption(.aes, [UInt8]([1, 2, 3]).withUnsafeBytes { Secret(copying: $0) })
      default: break
      }
      let storage = AuditingStorage(MemoryStorage())
      try Image.create(on: storage, create)
      storage.finish()
      #expect(storage.violations == [], "kind \(kind)")
    }
  }

  @Test("leaks dropped, counts and flags set right")
  func repair() throws {
    for seed in 1...20 {
      var random = SplitMix64(seed: UInt64(seed) &* 91)
      var create = randomOptions(&random)
      create.refcountBits = create.version == 3 ? [8, 16, 32][seed % 3] : 16
      let below = MemoryStorage()
      try Image.create(on: below, create)
      var writable = Image.Options()
      writable.writable = true
      let image = try Image(below, options: writable)
      for _ in 0..<6 { try image.perform(randomRequest(create, &random)) }
      try image.close()
      // Free clusters that are counted are leaks; a count too many of one in use hides that its owner is the
      // only one.
      let geometry = image.geometry
      let codec = RefcountCodec(order: geometry.refcountOrder)
      let block = try #require(image.refcountTableEntry(0).block)
      var counts = try below.bytes(at: block.value, count: Int(geometry.clusterSize))
      let shared = try (0..<geometry.clusterCount).map { GuestCluster($0) }.first {
        let entry = try image.l2Entry(at: geometry.start(of: $0))
        return entry.isCopied && !entry.isCompressed
      }
      counts.withUnsafeMutableBytes { counts in
        for index in 0..<Int(min(geometry.refcountsPerBlock, 300)) where index % 3 == seed % 3 {
          if codec.value(in: UnsafeRawBufferPointer(counts), at: index) == 0 {
            codec.store(1, in: counts, at: index)
          }
        }
      }
      if let shared {
        let guest = geometry.start(of: shared)
        let entry = try image.l2Entry(at: guest)
        counts.withUnsafeMutableBytes {
          codec.store(
            2, in: $0, at: geometry.refcountBlockIndex(of: geometry.cluster(of: HostOffset(entry.offsetBits)))
          )
        }
        let table = try #require(image.l1Entry(geometry.l1Index(of: guest)).table)
        var word: [UInt8] = []
        BigEndian.append(entry.descriptor & ~L2Entry.copiedFlag, width: 8, to: &word)
        try below.write(word, at: table.value + UInt64(geometry.l2Index(of: guest) * geometry.l2EntrySize))
      }
      try below.write(counts, at: block.value)
      let storage = AuditingStorage(below)
      try RelocationCheck(storage, dropsLeaks: true).dropLeaks(on: storage)
      storage.finish()
      #expect(storage.violations == [], "seed \(seed)")
      #expect(storage.notes > 0)
      #expect(try findings(try Image(below)) == [], "seed \(seed)")
    }
  }

  @Test("all counts written anew after a crash with lazy refcounts")
  func rebuild() throws {
    var create = Image.CreateOptions(size: 4 << 20)
    create.clusterSize = 512
    create.lazyRefcounts = true
    let below = MemoryStorage()
    try Image.create(on: below, create)
    var writable = Image.Options()
    writable.writable = true
    writable.cache = .writeback
    let first = try Image(below, options: writable)
    // So many clusters need blocks that no table names when the plug is pulled.
    try first.perform(.write(offset: 0, count: 3 << 20, byte: 1))
    try first.flush()
    // The last blocks are lost.
    let table = first.header.refcountTableOffset
    let lost = [UInt8](repeating: 0, count: 8)
    for index in 2..<first.refcountTableCount where first.refcountTableEntry(index).block != nil {
      try below.write(lost, at: table + UInt64(index) * 8)
    }
    #expect(try Image(below).header.incompatible.contains(.dirty))
    var told: [String] = []
    let storage = AuditingStorage(below)
    writable.tellsRepair = { if case .rebuilding = $0 { told.append("rebuilding") } }
    let image = try Image(storage, options: writable)
    try image.close()
    storage.finish()
    #expect(told == ["rebuilding"])
    #expect(storage.violations == [])
    #expect(try findings(try Image(below)) == [])
  }

  @Test("clusters moved into order")
  func relocation() throws {
    for seed in 1...30 {
      var random = SplitMix64(seed: UInt64(seed) &* 17)
      var create = randomOptions(&random)
      create.clusterSize = [512, 1024, 16384][seed % 3]
      create.extendedL2 = create.clusterSize == 16384 && create.version == 3 && Bool.random(using: &random)
      create.size = create.clusterSize * UInt64.random(in: 20...300, using: &random)
      let storage = AuditingStorage(MemoryStorage())
      try Image.create(on: storage, create)
      var writable = Image.Options()
      writable.writable = true
      writable.cache = .writeback
      let image = try Image(storage, options: writable)
      for _ in 0..<30 { try image.perform(randomRequest(create, &random)) }
      try image.close()
      try RelocationCheck(storage).dropLeaks(on: storage)
      let ordered = try Image(storage, options: writable)
      try ordered.relocate(seed % 2 == 0 ? .packed(base: nil) : .shifted(by: nil))
      try ordered.close()
      storage.finish()
      #expect(storage.violations == [], "seed \(seed), \(create)")
    }
  }

  /// A session in which every kind of table changes.
  private func changeEverything(_ storage: any Storage) throws {
    var writable = Image.Options()
    writable.writable = true
    writable.cache = .writeback
    let image = try Image(storage, options: writable)
    try image.perform(.write(offset: 0, count: 3 << 20, byte: 1))
    try image.createSnapshot(name: "s", seconds: 0, nanoseconds: 0)
    try image.perform(.write(offset: 512, count: 512, byte: 2))
    try image.applySnapshot("s")
    try image.resize(to: ByteCount(8 << 20))
    _ = try? image.setPin()
    try image.close()
  }

  private func copy(_ storage: MemoryStorage) throws -> AuditingStorage {
    AuditingStorage(MemoryStorage(bytes: try storage.bytes(at: 0, count: Int(storage.length))))
  }

  @Test(
    "a note that is missing or wrong is noticed, whatever it is about",
    arguments: [Structure.header, .l1Table, .l2Table, .refcountTable, .refcountBlock, .snapshotTable])
  func distortedNote(_ structure: Structure) throws {
    var create = Image.CreateOptions(size: 4 << 20)
    create.clusterSize = 512
    let below = MemoryStorage()
    try Image.create(on: below, create)
    let whole = try copy(below)
    var given = 0
    whole.distorts = {
      if $0.target == structure { given += 1 }
      return $0
    }
    try changeEverything(whole)
    whole.finish()
    #expect(whole.violations == [])
    #expect(given > 0)
    for chosen in Set([1, (given + 1) / 2, given]) {
      for isMissing in [true, false] {
        let storage = try copy(below)
        var count = 0
        storage.distorts = { tag in
          if tag.target == structure { count += 1 }
          guard tag.target == structure, count == chosen else { return tag }
          var wrong = tag
          wrong.after.0 ^= 1
          return isMissing ? nil : wrong
        }
        try changeEverything(storage)
        storage.finish()
        #expect(
          !storage.violations.isEmpty, "note \(chosen) of \(given) on \(structure), missing: \(isMissing)")
      }
    }
  }

  @Test("a write past the door is noticed, and one that even the stream of events does not show")
  func untoldWrite() throws {
    let below = MemoryStorage()
    try Image.create(on: below, Image.CreateOptions(size: 1 << 20))
    let header = try Image(below).header
    for place in [24, header.l1TableOffset, header.refcountTableOffset, header.refcountTableOffset + 65536] {
      let storage = try copy(below)
      try storage.write([0x12, 0x34], at: place, tag: WriteTag(.data, .guestData))
      storage.finish()
      #expect(!storage.violations.isEmpty, "at \(place)")
      // A session is under way, and somebody writes to the file behind its back.
      let other = try copy(below)
      var writable = Image.Options()
      writable.writable = true
      let image = try Image(other, options: writable)
      try image.perform(.write(offset: 0, count: 65536, byte: 1))
      try other.base.write([0x12, 0x34], at: place, tag: .untagged)
      other.finish()
      #expect(!other.violations.isEmpty, "at \(place)")
    }
  }
}
