// Where the fuzzer begins: small images of every kind the format has, made by the engine, and scripts
// that use every request once.

import Qcow
import QcowFormat
import Storage

extension FuzzTarget {
  /// An input to begin with.
  package struct Seed {
    package var name: String
    package var bytes: [UInt8]
  }

  /// Inputs to begin with.
  package func seeds() throws -> [Seed] {
    switch self {
    case .open, .lookup: return try SeedImage.all.map { Seed(name: $0.name, bytes: try $0.bytes()) }
    case .compressed: return try Self.streamSeeds()
    case .script:
      var seeds: [Seed] = []
      for (number, image) in SeedImage.all.enumerated() {
        let bytes = try image.bytes()
        for (other, script) in SeedScript.all.enumerated() where (number + other) % 3 == 0 || number < 4 {
          seeds.append(Seed(name: "\(image.name)-\(script.name)", bytes: script.bytes + bytes))
        }
      }
      return seeds
    }
  }

  /// Streams of both compressors, alone and behind each other.
  private static func streamSeeds() throws -> [Seed] {
    var seeds: [Seed] = []
    for type in UInt8(0)...1 {
      for (number, size) in [512, 4096, 65536].enumerated() {
        var options = Image.CreateOptions(size: UInt64(2 * size))
        options.compressionType = type
        options.clusterSize = UInt64(size)
        let storage = MemoryStorage()
        try Image.create(on: storage, options)
        let image = try writableImage(storage)
        for cluster in 0..<2 {
          let bytes = (0..<size).map { UInt8(truncatingIfNeeded: $0 >> (cluster == 0 ? 4 : 1) ^ $0 >> 7) }
          try bytes.withUnsafeBytes { try image.writeCompressed($0, at: GuestOffset(UInt64(cluster * size))) }
        }
        try image.close()
        var places: [CompressedExtent] = []
        for cluster in 0..<2 {
          let run = try image.mapping(at: GuestOffset(UInt64(cluster * size)), limit: 1)
          if let extent = run.compressed { places.append(extent) }
        }
        guard let first = places.first?.offset.value else { continue }
        let streams = try storage.bytes(at: first, count: Int(storage.length - first))
        var prefix: [UInt8] = [type | UInt8(number) << 1]
        for cluster in 0..<compressedClusters {
          let place = places[cluster % places.count]
          let start = UInt16(truncatingIfNeeded: place.offset.value - first)
          prefix += [UInt8(start >> 8), UInt8(start & 255), UInt8(cluster < 2 ? 255 : cluster)]
        }
        seeds.append(Seed(name: "type\(type)-\(size)", bytes: prefix + streams))
      }
    }
    return seeds
  }
}

/// The image, opened for writing.
func writableImage(_ storage: any Storage) throws -> Image {
  var options = Image.Options()
  options.writable = true
  options.cache = .writeback
  options.layers = MemoryLayers()
  return try Image(storage, options: options)
}
