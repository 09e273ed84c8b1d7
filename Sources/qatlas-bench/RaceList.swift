// Every race, in the order in which the table shows them.

enum RaceList {
  static func all(_ scale: Scale) -> [Race] {
    [
      Race.start("info"), .start("map"), .start("check"), .mapScattered(scale), .map(scale), .check(scale),
    ]
      + Race.scatteredRaces(scale)
      + [
        Race.overlay(extended: false, cache: "writeback", target: 2.0, scale),
        .overlay(extended: true, cache: "writeback", target: 4.0, scale),
        .overlay(extended: false, cache: "writethrough", target: 1.1, scale),
        .overlay(extended: true, cache: "writethrough", target: 1.1, scale),
        .sequentialRead(scale), .sequentialWrite(scale), .randomRead(scale),
        .discardLarge(scale), .discardScattered(keepsMapping: false, scale),
        .discardScattered(keepsMapping: true, scale),
      ] + Race.compressedReads(scale)
      + [
        Race.defrag(isFlushed: false, scale), .defrag(isFlushed: true, scale),
        .laboratory(scale),
      ] + Race.explorerChanges(scale) + Race.explorerRaces(scale)
      + [
        Race.pinnedWrites(scale), .pinnedRead(scale), .toImage(scale), .toRaw(scale), .chain(scale),
        .compression("zlib", isFast: false, scale), .compression("zstd", isFast: false, scale),
        .compression(nil, isFast: true, scale), .compression("zlib", isFast: true, scale),
        .compression("zstd", isFast: true, scale), .commit(scale), .rebase(scale), .checkSnapshots(scale),
        .snapshot("c", "create", scale), .snapshot("d", "delete", scale), .measure(scale),
      ]
  }
}
