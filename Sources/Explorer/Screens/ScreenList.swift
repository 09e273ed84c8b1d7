// The screens there are. This list is the only place that names them all.

enum ScreenList {
  /// In the order in which help lists their commands.
  static var all: [any Screen.Type] {
    [
      TableScreen.self,
      HexScreen.self,
      FragmentationScreen.self,
      SnapshotsScreen.self,
      BitmapsScreen.self,
      RefcountsScreen.self,
      CheckScreen.self,
      SalvageScreen.self,
      LadderScreen.self,
      HostScreen.self,
      StepsScreen.self,
      DiscardsScreen.self,
      HistoryScreen.self,
      MapsScreen.self,
      LabScreen.self,
      HelpScreen.self,
    ]
  }

  static var commands: [CommandSpec] { all.flatMap { $0.commands } }
}
