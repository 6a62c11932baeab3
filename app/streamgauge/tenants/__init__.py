"""Tenants - schools, organisations - and the groups of people in them."""
