// The counter of owners against a plain dictionary, through all widths of its counters, and the check on
// files of absurd lengths.

import QcowFormat
import Storage
import TestSupport
import Testing

@testable import Qcow

@Suite("counting references", .tags(.fast))
struct TallyTests {
  @Test(
    "counts are those of a dictionary", arguments: [1, 3, 15, 255, 65535] as [UInt64], [1, 2, 3] as [UInt64])
  func model(maximum: UInt64, seed: UInt64) throws {
    var random = SplitMix64(seed: seed)
    let clusters: UInt64 = 70_000
    let tally = HostTally(
      clusters: ClusterCount(clusters), maximum: maximum, memory: CheckMemory(limit: ByteCount(1 << 24)))
    var model: [UInt64: UInt64] = [:]
    for round in 0..<1500 {
      let start = random.below(3) == 0 ? 32_768 - random.below(100) : random.below(clusters)
      let count = min(clusters - start, 1 + random.below(random.below(20) == 0 ? 5000 : 70))
      // A few clusters get so many owners that they need wide counters.
      let times = round % 100 == 0 ? min(600, maximum + 1) : 1
      for _ in 0..<times {
        var wasOwned = false
        let counted = try tally.add(HostCluster(start), ClusterCount(count), wasOwned: &wasOwned).value
        let full = (start..<start + count).first { model[$0, default: 0] >= maximum }
        #expect(counted == (full ?? start + count) - start, "seed \(seed), round \(round)")
        let touched = start..<start + counted
        if counted > 0 { #expect(wasOwned == touched.contains { model[$0] != nil }) }
        for cluster in touched { model[cluster, default: 0] += 1 }
        if counted == 0 { break }
      }
    }
    let wrong = (0..<clusters).filter { tally.count(of: HostCluster($0)) != model[$0, default: 0] }
    #expect(wrong.isEmpty, "seed \(seed), maximum \(maximum)")
  }

  @Test("there is an end to memory")
  func limit() throws {
    let tally = HostTally(
      clusters: ClusterCount(UInt64(1 << 31)), maximum: 3, memory: CheckMemory(limit: 20_000))
    var ignored = false
    #expect(throws: CheckStop.self) {
      for chunk: UInt64 in 0..<10 { _ = try tally.add(HostCluster(chunk << 20), 1, wasOwned: &ignored) }
    }
  }

  @Test("a file of absurd length is refused at once", arguments: [512, 1 << 21] as [UInt64])
  func absurd(clusterSize: UInt64) throws {
    let storage = MemoryStorage()
    var options = Image.CreateOptions(size: 1 << 20)
    options.clusterSize = clusterSize
    try Image.create(on: storage, options)
    try storage.truncate(to: UInt64(Int64.max), tag: .untagged)
    let check = try ImageCheck(storage) { _ in }
    let result = check.run()
    #expect(result.failure?.error == 27)
    #expect(result.checkErrors == 1)
  }

  @Test("a sparse file with as many clusters as can be counted is checked")
  func longest() throws {
    let storage = MemoryStorage()
    var options = Image.CreateOptions(size: 1 << 20)
    options.clusterSize = 1 << 16
    try Image.create(on: storage, options)
    try storage.truncate(to: UInt64(Int32.max) << 16, tag: .untagged)
    let result = try ImageCheck(storage) { _ in }.run()
    #expect(result == CheckResult(totalClusters: 16, imageEndOffset: 4 << 16))
  }

  @Test("tables that name each other without end are given up")
  func endless() throws {
    let storage = MemoryStorage()
    var options = Image.CreateOptions(size: 64 << 30)
    options.clusterSize = 1 << 21
    try Image.create(on: storage, options)
    // An L1 table as long as may be, and every entry leads to the same table: 8 TiB of tables.
    let header = try storage.bytes(at: 0, count: 112)
    let l1 = BigEndian.u64(header, 40)
    try storage.write([0, 0x40, 0, 0], at: 36)
    var entry: [UInt8] = []
    BigEndian.append(l1 + 32 << 20, width: 8, to: &entry)
    let row = [[UInt8]](repeating: entry, count: 1 << 22).flatMap { $0 }
    try storage.write(row, at: l1)
    try storage.truncate(to: l1 + 64 << 20, tag: .untagged)
    let result = try ImageCheck(storage, workLimit: ByteCount(64 << 20)) { _ in }.run()
    #expect(result.failure?.detail?.contains("too often") == true)
  }
}
