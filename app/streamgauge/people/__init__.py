"""People: who was there when, what somebody did, and single events. Everything here asks for the permission `people`."""
