// Compressed clusters: streams that were never written by a compressor are read, and the same bytes are
// compressed and must come back.
//
// Input: a byte for type and cluster size, then for each of four clusters three bytes (where its stream
// begins, in bytes from the first place for streams, and how many further sectors it is said to have),
// then the streams.

import Qcow
import QcowFormat
import Storage

extension FuzzTarget {
  static let compressedClusters = 4
  static let compressedPrefix = 1 + 3 * compressedClusters

  func runCompressed(_ input: [UInt8]) throws {
    guard input.count >= Self.compressedPrefix else { return }
    var create = Image.CreateOptions(size: 0)
    create.compressionType = input[0] & 1
    create.extendedL2 = input[0] & 8 != 0
    create.clusterSize = [512, 4096, 65536, 16384][Int(input[0] >> 1 & 3)]
    if create.extendedL2 { create.clusterSize = max(create.clusterSize, 16384) }
    create.size = UInt64(Self.compressedClusters) * create.clusterSize
    let streams = Array(input[Self.compressedPrefix...])
    try readHostile(input, streams, create)
    try writeAndRead(streams, create)
  }

  /// An image whose entries point to the input.
  private func readHostile(_ input: [UInt8], _ streams: [UInt8], _ create: Image.CreateOptions) throws {
    let storage = SmallStorage([])
    try Image.create(on: storage, create)
    var options = Image.Options()
    options.writable = true
    options.cache = .writeback
    let image = try Image(storage, options: options)
    // Any write makes the L2 table.
    try image.writeZeroes(at: GuestOffset(0), count: ByteCount(create.size), mayUnmap: false)
    try image.close()
    guard let table = image.l1Entry(0).table?.value else { throw FuzzFinding("no L2 table was made") }
    let place = image.geometry.roundUp(storage.length)
    try storage.write(streams, at: place)
    let sectorShift = UInt64(image.geometry.compressedOffsetBits)
    let sectorMask: UInt64 = 1 << (62 - sectorShift) - 1
    for number in 0..<Self.compressedClusters {
      let at = 1 + 3 * number
      let start = place + UInt64(input[at]) << 8 | UInt64(input[at + 1])
      let sectors = UInt64(input[at + 2]) * (sectorMask / 255 + 1) & sectorMask
      var entry: [UInt8] = []
      BigEndian.append(1 << 62 | sectors << sectorShift | start, width: 8, to: &entry)
      try storage.write(entry, at: table + UInt64(number * image.geometry.l2EntrySize))
    }
    let hostile = try Image(storage)
    let size = Int(create.clusterSize)
    var answers: [Int: [UInt8]?] = [:]
    for number in [0, 1, 2, 3, 1, 0, 2] {
      let start = UInt64(number * size)
      let whole = read(hostile, start, size)
      if let before = answers[number] {
        try require(before == whole, "cluster \(number) reads differently after others were read")
      }
      answers[number] = .some(whole)
      let cut = size / 3 + number
      let part = read(hostile, start + UInt64(cut), size - cut)
      try require((whole == nil) == (part == nil), "cluster \(number) can be read only one way")
      if let whole, let part {
        try require(Array(whole[cut...]) == part, "cluster \(number) reads differently from its middle")
      }
    }
  }

  /// Clusters of the input's bytes, repeated, packed and read again.
  private func writeAndRead(_ bytes: [UInt8], _ create: Image.CreateOptions) throws {
    guard !bytes.isEmpty else { return }
    let storage = SmallStorage([])
    try Image.create(on: storage, create)
    var options = Image.Options()
    options.writable = true
    options.cache = .writeback
    let image = try Image(storage, options: options)
    let guest = (0..<Int(create.size)).map { bytes[$0 % bytes.count] }
    try guest.withUnsafeBytes { try image.writeCompressed($0, at: GuestOffset(0)) }
    try image.close()
    try require(read(try Image(storage), 0, guest.count) == guest, "compressed bytes did not come back")
    let check = try ImageCheck(storage) { _ in }
    let result = check.run()
    try require(
      result.failure == nil && result.corruptions == 0 && result.leaks == 0,
      "compressed writes left \(result.corruptions) errors and \(result.leaks) leaks")
  }
}
