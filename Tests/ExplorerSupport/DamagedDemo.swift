// The demo image with damage: bytes of its tables are changed before it is opened.

import CellScreen
package import Explorer
internal import Qcow
internal import Storage

/// What is wrong with the demo image.
package enum DemoDamage: String, CaseIterable, Sendable {
  case none
  /// An entry behind the end of the file, a count that is missing, a wrong flag, the dirty bit, and what they leave.
  case damaged
  /// Clusters that nothing points to, with data and without.
  case leaking
  /// Header and L1 table are destroyed; it is opened by way of a salvage.
  case destroyed

  /// The bytes of the image.
  package func bytes() throws -> [UInt8] {
    let session = try Demo.session(files: MemoryFiles())
    var bytes = try session.overlay.bytes(at: 0, count: Int(session.overlay.length))
    let cluster = 1 << 16
    while bytes.count % cluster != 0 { bytes.append(0) }
    func put(_ value: UInt64, _ at: Int, _ width: Int = 8) {
      for index in 0..<width {
        bytes[at + index] = UInt8(truncatingIfNeeded: value >> UInt64(8 * (width - 1 - index)))
      }
    }
    func word(_ at: Int) -> UInt64 { bytes[at..<at + 8].reduce(0) { $0 << 8 | UInt64($1) } }
    let mask: UInt64 = 0x00ff_ffff_ffff_fe00
    let block = Int(word(Int(word(48))) & ~511)
    let table = Int(word(Int(word(40))) & mask)
    func entry(_ index: Int) -> Int { table + 16 * index }
    func count(_ index: Int, _ value: UInt64) { put(value, block + 2 * index, 2) }
    switch self {
    case .none: break
    case .damaged:
      let host = Int(word(entry(17)) & mask) / cluster
      put(word(entry(19)) & ~mask | 0xd100_0000, entry(19))
      put(word(entry(18)) & ~(1 << 63), entry(18))
      count(host, 0)
      bytes[79] |= 1
    case .leaking:
      put(0, entry(640))
      put(0, entry(640) + 8)
      let next = bytes.count / cluster
      bytes += [UInt8](repeating: 0, count: 2 * cluster)
      count(next, 1)
      count(next + 1, 1)
    case .destroyed:
      let l1 = Int(word(40))
      for place in [0, l1] {
        for index in 0..<cluster { bytes[place + index] = UInt8(truncatingIfNeeded: (index &* 167) >> 3) }
      }
    }
    return bytes
  }

  /// An explorer of it, scanned to the end.
  package func explorer(width: Int = 120, height: Int = 40, files: MemoryFiles = MemoryFiles()) throws
    -> Explorer
  {
    guard self != .none else { return try demoExplorer(width: width, height: height, files: files) }
    let storage = MemoryStorage(name: "demo", bytes: try bytes())
    let session: Session
    if self == .destroyed {
      let salvage = Salvage(OverlayStorage(base: storage))
      try salvage.run()
      session = try Session(
        salvage.overlay, title: "demo", mode: .readOnly, files: files, hasFile: false)
      session.salvaged = salvage
    } else {
      session = try Session(storage, title: "demo", mode: .scratch, files: files, hasFile: false)
    }
    let explorer = Explorer(session, files: files, width: width, height: height, glyphs: .ascii)
    settle(explorer)
    return explorer
  }
}
