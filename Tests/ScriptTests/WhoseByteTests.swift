// Whose a byte of the file is, where that is not plain: several compressed streams in one host cluster, and clusters
// that only a snapshot has.

import Cartography
import CellScreen
import Explorer
import ExplorerSupport
import Qcow
import QcowFormat
import Storage
import TestSupport
import Testing

@Suite(.tags(.fast)) struct WhoseByteTests {
  private static let cluster = 65536

  private func image(_ base: MemoryStorage) throws -> Image {
    var create = Image.CreateOptions(size: 8 << 20)
    create.clusterSize = UInt64(Self.cluster)
    try Image.create(on: base, create)
    var options = Image.Options()
    options.writable = true
    return try Image(base, options: options)
  }

  private func explorer(_ base: MemoryStorage, width: Int = 120) throws -> Explorer {
    let files = MemoryFiles(image: base)
    let explorer = Explorer(
      try Session(base, title: "a.qcow2", mode: .scratch, files: files), files: files, width: width,
      height: 40, glyphs: .ascii)
    settle(explorer)
    return explorer
  }

  /// A cluster that compresses to a part of a host cluster.
  private func content(_ seed: Int) -> [UInt8] {
    var random = SplitMix64(seed: UInt64(seed))
    return (0..<Self.cluster).map { $0 < 7000 + seed * 500 ? UInt8(random.below(256)) : UInt8(seed) }
  }

  /// Streams of the disk and of a snapshot, several in a host cluster.
  private func streams() throws -> MemoryStorage {
    let base = MemoryStorage()
    let image = try image(base)
    for guest in 0..<12 {
      let bytes = content(guest)
      try bytes.withUnsafeBytes {
        try image.writeCompressed($0, at: GuestOffset(UInt64(guest * Self.cluster)), packed: nil)
      }
    }
    try image.close()
    return base
  }

  /// Every byte of every stream has the label of its own stream, and bytes in none are said to be unused.
  @Test func everyStreamHasItsLabel() throws {
    let base = try streams()
    let explorer = try explorer(base)
    let scene = explorer.session.scene
    let image = scene.image
    // The byte that a stream begins with belongs to it, whatever the stream before says of its last sector.
    var extents: [(guest: UInt64, start: UInt64, end: UInt64)] = []
    for guest in 0..<12 as Range<UInt64> {
      let entry = try image.l2Entry(at: GuestOffset(guest << 16))
      #expect(entry.isCompressed)
      let extent = image.geometry.compressedExtent(of: entry.descriptor)
      extents.append((guest << 16, extent.offset.value, extent.offset.value + extent.byteCount))
    }
    #expect(Set(extents.map { $0.start >> 16 }).count < extents.count)
    let low = try #require(extents.map(\.start).min())
    let high = try #require(extents.map(\.end).max())
    for place in stride(from: low & ~0xffff, to: min(high, base.length), by: 97) {
      let owner = extents.filter { $0.start <= place && place < $0.end }.max { $0.start < $1.start }
      let field = scene.byteMap.field(at: HostOffset(place))
      #expect(field.range.contains(HostOffset(place)), "\(place): \(field)")
      if let owner {
        #expect(field.structure == "compressed data")
        #expect(field.value == "stream of guest 0x" + String(owner.guest, radix: 16), "\(place): \(field)")
        #expect(field.range.lowerBound.value == owner.start)
        #expect(Place.host(HostOffset(place), in: scene.owners).guest?.value == owner.guest)
      } else if field.state == .compressed {
        #expect(field.value == "unused: no stream covers it", "\(place): \(field)")
      }
    }
    // A page of bytes names each stream where it begins.
    let second = extents.sorted { $0.start < $1.start }[1]
    let shown = scene.byteMap.fields(from: HostOffset(second.start - 8), count: 64)
    #expect(shown.count == 2 && shown[1].range.lowerBound.value == second.start)
  }

  /// 64 KiB at 1M that the snapshot keeps, and nothing of it on the disk as it is now.
  private func onlyInSnapshot() throws -> (explorer: Explorer, host: UInt64) {
    let base = MemoryStorage()
    _ = try image(base)
    let explorer = try explorer(base)
    try ScriptRunner.run(":write -P 7 1M 128k\n:snapshot-create big\n:discard 1M 128k", on: explorer)
    settle(explorer)
    let snapshot = try explorer.session.scene(ofSnapshot: 0)
    let entry = try snapshot.image.l2Entry(at: GuestOffset(1 << 20 + 65536))
    return (explorer, entry.offsetBits)
  }

  @Test func snapshotsAreNamed() throws {
    let (explorer, host) = try onlyInSnapshot()
    let scene = explorer.session.scene
    let place = Place.host(HostOffset(host + 5), in: scene.owners)
    #expect(place.guest == nil && place.inSnapshots.map(\.guest.value) == [1 << 20 + 65536 + 5])
    #expect(
      PlaceWords(place, of: scene.image).noGuest
        == "0x110005 of snapshot \"big\", not of the disk as it is now")
    let field = scene.byteMap.field(at: HostOffset(host))
    #expect(field.value == "guest 0x110000 of snapshot \"big\"", "\(field)")
    try ScriptRunner.run(":goto host 0x\(String(host, radix: 16))", on: explorer)
    #expect(explorer.canvas().text().contains("0x110000 of snapshot \"big\""))
  }

  @Test("x and Enter lead to the place in the snapshot", arguments: ["x", "Enter"])
  func theWayToASnapshot(_ key: String) throws {
    let (explorer, host) = try onlyInSnapshot()
    try ScriptRunner.run(":goto host 0x\(String(host, radix: 16))\n\(key)", on: explorer)
    #expect(explorer.canvas().text().contains("holds guest 0x110000 of snapshot \"big\""))
    try ScriptRunner.run("Enter", on: explorer)
    settle(explorer)
    #expect(explorer.canvas().text().contains("[snapshot big]"))
    #expect(explorer.cursor.guest == 0x110000 && explorer.cursor.side == .guest)
    #expect(explorer.cursor.host == host && explorer.cursor.isTwinned)
  }
}
