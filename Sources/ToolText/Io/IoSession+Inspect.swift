// The commands that only look: which ranges this file answers for, and what it is.

import Cartography
import Glibc
import Qcow
import QcowFormat

extension IoSession {
  /// The length of the run from `start` on in which this file answers, or does not, for every byte.
  private func run(
    _ disk: any GuestDisk, at start: UInt64, limit: UInt64
  ) throws(Failure) -> (isAllocated: Bool, length: UInt64) {
    let run = try engine("map") { () throws(ImageError) in
      try disk.allocation(at: GuestOffset(start), limit: ByteCount(limit))
    }
    guard run.length > 0 else { throw .request(verb: "map", EIO) }
    return (run.isAllocated, min(run.length.value, limit))
  }

  func map(_ disk: any GuestDisk) throws(Failure) {
    let size = disk.virtualSize
    var start: UInt64 = 0
    while start < size {
      let first = try run(disk, at: start, limit: size - start)
      var length = first.length
      while start + length < size {
        let next = try run(disk, at: start + length, limit: size - start - length)
        guard next.isAllocated == first.isAllocated else { break }
        length += next.length
      }
      let word = first.isAllocated ? "    allocated" : "not allocated"
      terminal.output(
        "\(IoFormat.size(length)) (0x\(Notation.hex(length))) bytes \(word) at offset \(IoFormat.size(start)) (0x\(Notation.hex(start)))\n"
      )
      start += length
    }
  }

  func alloc(_ operands: [String], _ disk: any GuestDisk) throws(Failure) {
    guard let first = operands.first else { throw .usage }
    let offset = try Self.number(first)
    let asked = operands.count > 1 ? try Self.number(operands[1]) : 512
    let size = disk.virtualSize
    let count = offset < size ? min(asked, size - offset) : 0
    var done: UInt64 = 0
    var allocated: UInt64 = 0
    while done < count {
      let next = try run(disk, at: offset + done, limit: count - done)
      if next.isAllocated { allocated += next.length }
      done += next.length
    }
    terminal.output("\(allocated)/\(done) bytes allocated at offset \(IoFormat.size(offset))\n")
  }

  func info(_ disk: any GuestDisk) throws(Failure) {
    guard let image = disk as? Image else {
      return terminal.output("format name: raw\ncluster size: 0 bytes\nvm state offset: 0 bytes\n")
    }
    let geometry = image.geometry
    let details = try engine("info") { () throws(ImageError) in try InfoText.details(of: image) }
    terminal.output(
      "format name: qcow2\ncluster size: \(IoFormat.size(geometry.clusterSize))\n"
        + "vm state offset: \(IoFormat.size(geometry.stateStart?.value ?? .max))\n"
        + "Format specific information:\n" + ReportValue.object(details).human(indent: 4))
  }
}
