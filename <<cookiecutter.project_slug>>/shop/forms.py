from django import forms


class OrderForm(forms.Form):
    quantity = forms.IntegerField(min_value=1, max_value=100, initial=1)
    email = forms.EmailField(
        max_length=254, widget=forms.EmailInput(attrs={"autocomplete": "email"})
    )
